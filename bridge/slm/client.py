"""The light from a script: `client.slm` of `bridge.Client`.

    client.slm.catch()                                     # a trap for every particle that is seen
    client.slm.arm()                                       # nothing is shown before
    client.slm.assemble(grid(5, 5, 40, (256, 256)))        # returns at once; `wait` waits until they are there

Lengths are pixels of the camera. Raises SettingsError with the reason of a refusal; then nothing was changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.errors import PeerError

Place = Sequence[float]


def grid(columns: int, rows: int, pitch: float, centre: Place) -> list[tuple[float, float]]:
    """Places of a grid about a centre, pixels."""
    return [
        (centre[0] + (i - (columns - 1) / 2) * pitch, centre[1] + (j - (rows - 1) / 2) * pitch)
        for j in range(rows)
        for i in range(columns)
    ]


class LightClient:
    """See the module. `ask` sends an order and returns its result."""

    def __init__(self, ask: Callable[[str, dict[str, Any]], dict[str, Any]]) -> None:
        self._ask = ask

    def arm(self) -> dict[str, Any]:
        """Light from now on; the data have to be fresh."""
        return self._ask("arm", {})

    def disarm(self) -> dict[str, Any]:
        """No light in traps, at once. They are remembered."""
        return self._ask("disarm", {})

    def trap(
        self, x: float | None = None, y: float | None = None, *, particle: int | None = None, trap: int | None = None,
        z: float = 0.0, intensity: float = 1.0,
    ) -> int:  # fmt: skip
        """A trap at a place or at a particle; its number. With the number of one: other z and intensity."""
        values = {"x": x, "y": y, "particle": particle, "trap": trap, "z": float(z), "intensity": float(intensity)}
        return int(self._ask("trap", {name: value for name, value in values.items() if value is not None})["trap"])

    def catch(self, most: int | None = None) -> list[int]:
        """A trap for every free particle; frozen traps may take the nearest one. The numbers of new traps."""
        return list(self._ask("catch", {} if most is None else {"most": most})["traps"])

    def move(self, to: Mapping[int, Place], step: float = 0.0) -> int:
        """Traps to places, together and straight; how many frames it takes."""
        values = {str(trap): [float(v) for v in place] for trap, place in to.items()}
        return int(self._ask("move", {"to": values, "step": float(step)})["frames"])

    def rotate(self, angle_deg: float, traps: Sequence[int] | None = None, centre: Place | None = None) -> int:
        """Traps (all) about a centre (their middle), clockwise on the picture; how many frames it takes."""
        values: dict[str, Any] = {"angle_deg": float(angle_deg)}
        if traps is not None:
            values["traps"] = list(traps)
        if centre is not None:
            values["centre"] = [float(v) for v in centre]
        return int(self._ask("rotate", values)["frames"])

    def assemble(self, pattern: Sequence[Place], step: float = 0.0) -> list[int]:
        """Traps that hold a particle to the places of a pattern; which trap went to each place."""
        values = {"pattern": [[float(v) for v in place] for place in pattern], "step": float(step)}
        return list(self._ask("assemble", values)["traps"])

    def release(self, traps: Sequence[int] | None = None) -> None:
        """No light for these (all) any more."""
        self._ask("release", {} if traps is None else {"traps": list(traps)})

    def halt(self) -> None:
        """All traps stay where they are."""
        self._ask("halt", {})

    def feedback(self, mode: str, gain: float = 0.0, integral: float = 0.0) -> dict[str, Any]:
        """ "off", "reposition", "p" or "pi"; a gain that would oscillate with the measured latency is refused."""
        return self._ask("feedback", {"mode": mode, "gain": float(gain), "integral": float(integral)})

    def state(self) -> dict[str, Any]:
        """Light, traps, ways, latency."""
        return self._ask("state", {})

    def wait(self, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait until all traps are where they shall be; the state. Raises PeerError, with what they wait for."""
        end = time.monotonic() + timeout_s
        while (state := self.state())["moving"]:
            if time.monotonic() > end:
                waits = next((way["waits"] for way in state["moving"] if way["waits"]), "they are on their way")
                raise PeerError(f"after {timeout_s:g} s the traps are not there: {waits}")
            time.sleep(0.05)
        return state
