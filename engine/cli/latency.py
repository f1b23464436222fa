"""The measurement of `ringtrack slm latency`: let a trap jump, read what was commanded and where the particle was."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.client import Client

JUMPS_A_SECOND = 3.1
"""Not in step with any camera's rate, so that jumps fall everywhere into the frame."""


def measure(client: Client, run_folder: Path, number: int | None, step: float, seconds: float) -> dict[str, Any]:
    """Jump trap `number` (None: the first that holds a particle) by `step` pixels. Raises SettingsError."""
    from bridge.slm.delay import find_delay
    from engine.errors import SettingsError
    from recorders.slm import read_slm

    state = client.slm.state()
    if state["state"] != "showing":
        raise SettingsError(f"slm latency: the light is {state['state']} ({state['why']}); arm it first")
    trap = next((t for t in state["traps"] if t["hold"] == "held" and number in (None, t["trap"])), None)
    if trap is None:
        raise SettingsError("slm latency: no trap holds a particle")
    number, (x, y) = trap["trap"], (trap["x"], trap["y"])
    mode, gain, began = state["feedback"], state["gain"], time.monotonic_ns()
    client.slm.feedback("off")
    try:
        for n in range(max(4, round(seconds * JUMPS_A_SECOND))):
            client.slm.move({number: (x + (step if n % 2 == 0 else 0.0), y)}, step)
            time.sleep(1 / JUMPS_A_SECOND * (0.8 + 0.4 * (n * 0.618 % 1)))
    finally:
        client.slm.halt()
        client.slm.move({number: (x, y)})
        client.slm.feedback(mode, gain)
    rows = read_slm(run_folder)
    assert rows is not None
    rows = rows[(rows["trap"] == number) & (rows["t_command_ns"] > began) & (rows["shown"] == 1)]
    seen = rows[rows["held"] == 1]
    try:
        found = find_delay(
            (rows["t_command_ns"] - began) / 1e6, rows["light_x"].copy(), (seen["t_camera_ns"] - began) / 1e6,
            seen["x"].copy(),
        )  # fmt: skip
    except ValueError as error:
        raise SettingsError(f"slm latency: {error}") from None
    latency = client.slm.state()["latency_ms"]
    fps = float(client.hello()["camera"]["fps"])
    loop_ms = found.delay_ms + latency["p50"]
    return {
        "display_to_camera_ms": found.delay_ms, "error_ms": found.error_ms, "tau_ms": found.tau_ms,
        "correlation": found.correlation, "camera_to_display_ms": latency, "loop_ms": loop_ms,
        "loop_frames": loop_ms / 1e3 * fps, "delay_frames": math.ceil(loop_ms / 1e3 * fps), "trap": number,
        "frames": len(seen),
    }  # fmt: skip
