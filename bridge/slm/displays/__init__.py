"""Where holograms go: one small class each behind `base.Display`, and one function that finds the right one.

| slm.display | class | what it is given |
|---|---|---|
| `window:1` | `window.Window` | the levels, full screen on that screen |
| `udp://127.0.0.1:61557` | `tweezers.RedTweezers` | traps; it computes its own hologram |
| `tcp://127.0.0.1:50054` | `publisher.Publisher` | traps and levels, by ZeroMQ PUB; the simulated camera's light |
| `slmsuite:MODULE:CLASS` | `vendor.Vendor` | the phase, through a driver of slmsuite |
| `simulated` | `base.Simulated` | kept, and shown to nobody |
"""

from __future__ import annotations

from bridge.slm.displays.base import Display, Simulated
from engine.errors import SettingsError

__all__ = ["Display", "Simulated", "open_display"]


def open_display(text: str, width: int, height: int) -> Display:
    """The display that `slm.display` names, not open yet. Raises SettingsError, in a sentence, if there is none."""
    kind, _, rest = text.partition(":")
    if text == "simulated":
        return Simulated()
    if kind == "window" and rest.isdecimal():
        from bridge.slm.displays.window import Window

        return Window(int(rest), width, height)
    if kind == "udp":
        from bridge.slm.displays.tweezers import RedTweezers

        return RedTweezers(text)
    if kind == "tcp":
        from bridge.slm.displays.publisher import Publisher

        return Publisher(text)
    if kind == "slmsuite" and ":" in rest:
        from bridge.slm.displays.vendor import Vendor

        return Vendor(rest, width, height)
    raise SettingsError(
        f'slm.display: "{text}" is none; there are simulated, window:SCREEN, udp://host:port, tcp://host:port, '
        "slmsuite:MODULE:CLASS"
    )
