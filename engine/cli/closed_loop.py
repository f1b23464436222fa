"""`ringtrack demo --closed-loop`: simulated beads are caught by traps and assembled into a pattern, live.

The whole loop on one machine: the beads are in the light that the process of the light shapes, the simulated camera
sees them, and its frames go through wire, ring, trackers and linker back to that process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from engine.cli import output

if TYPE_CHECKING:
    import pandas as pd

    from bridge.client import Client

PIXEL_UM, REACH_UM, STIFFNESS = 0.1, 0.8, 4.0
MODULATOR = 256
SETTLING_FRAMES = 25
PATIENCE_S = 60.0


def demonstrate(
    *, seconds: float, fps: float, size: int, beads: int, data: str, overrides: tuple[str, ...], as_json: bool
) -> int:
    """Run it; the exit status. `seconds`: for how long the finished pattern is held."""
    from bridge.client import Client
    from bridge.control import local_address
    from bridge.slm.client import grid
    from engine.experiment import Experiment
    from engine.supervisor.background import start

    folder = Path(data)
    folder.mkdir(parents=True, exist_ok=True)
    registration = folder / "registration.json"
    registration.write_bytes(_registration(size))
    experiment = Experiment.load(None, [*settings(size, fps, data, registration), *overrides])
    scene = {
        "width": size, "height": size, "beads": beads, "fps": fps, "seed": 4, "distance_px": 0.6 * size / beads**0.5,
        "light": experiment.slm.display, "registration": str(registration), "stiffness_pN_um": STIFFNESS,
        "reach_um": REACH_UM, "exposure_ms": min(5.0, 500 / fps),
    }  # fmt: skip
    output.talk(
        f"{beads} beads of 1 µm in water, {size} x {size} pixels, {fps:g} frames/s, a modulator of {MODULATOR}²"
    )
    side = math.floor(math.sqrt(beads))
    pattern = grid(side, side, min(50.0, 0.6 * size / max(1, side - 1)), (size / 2, size / 2))
    with start(experiment, source="simulated?" + urlencode(scene)) as run:
        if experiment.web.enabled:
            output.talk(f"watch it: http://{experiment.web.listen}")
        with Client(local_address(run.plan.run_id)) as client:
            told = _act(client, pattern, seconds)
        summary = run.stop()
    found = told | _measured(run.run_folder, pattern, told, fps)
    found |= {"run_folder": summary.run_folder, "frames": summary.frames_recorded, "lost_frames": summary.frames_lost}
    if as_json:
        output.result_json(found)
    else:
        output.result("\n" + _table(found))
    return summary.status


def settings(size: int, fps: float, data: str, registration: Path, port: int = 50072) -> list[str]:
    """What suits the beads (as in `demo`), and the light."""
    from engine.cli.demo import _settings

    plain = [each for each in _settings(size, fps, data) if not each.startswith(("camera.listen", "control.listen"))]
    return [
        *plain,
        "experiment.name=closed-loop",
        f"camera.listen=tcp://127.0.0.1:{port}",
        f"control.listen=tcp://127.0.0.1:{port + 1}",
        f"slm.display=tcp://127.0.0.1:{port + 2}",
        f"web.listen=127.0.0.1:{port + 3}",
        "slm.enabled=true",
        f"slm.width={MODULATOR}",
        f"slm.height={MODULATOR}",
        f"slm.registration={registration}",
        f"slm.reach_um={REACH_UM}",
        f"slm.stiffness_pN_um={STIFFNESS / 2}",
        "slm.clearance=20",
        "slm.farthest=6",
        "slm.hold_s=0.3",
    ]


def _registration(size: int) -> bytes:
    """Camera to orders of a simulated microscope: turned, and a third of an order a pixel."""
    import msgspec
    import numpy as np

    from bridge.slm.registration import Optics, register
    from engine.clocks import utc_ns

    camera = np.array([[0.0, 0], [size, 0], [0, size], [size, size]])
    turn, scale = math.radians(3), 0.32 * MODULATOR / size
    matrix = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    orders = (camera - size / 2) @ matrix.T
    return msgspec.json.encode(register(camera, orders, utc_ns(), Optics(region=(0, 0, size, size))))


def _act(client: Client, pattern: list[tuple[float, float]], seconds: float) -> dict[str, Any]:
    """Catch, assemble, hold. Raises PeerError if it takes too long."""
    slm = client.slm
    _until(lambda: slm.state()["frame"] >= 10, "frames")
    slm.arm()
    slm.catch()
    patient_until = slm.state()["frame"] + SETTLING_FRAMES
    output.talk("armed: every bead gets a trap …")

    def all_held() -> bool:
        nonlocal patient_until
        state = slm.state()
        held = sum(trap["hold"] == "held" for trap in state["traps"])
        # A bead had diffused away before its light was there; light that is on its way gets the time to arrive.
        if held < len(pattern) and state["frame"] >= patient_until:
            patient_until = state["frame"] + SETTLING_FRAMES
            if empty := [trap["trap"] for trap in state["traps"] if trap["hold"] != "held"]:
                slm.release(empty)
            slm.catch()
        return bool(held >= len(pattern))

    _until(all_held, f"{len(pattern)} beads in traps")
    caught = slm.state()
    before = caught["lost"]
    if empty := [trap["trap"] for trap in caught["traps"] if trap["hold"] != "held"]:
        slm.release(empty)
    output.talk(
        f"{sum(t['hold'] == 'held' for t in caught['traps'])} caught; {len(pattern)} of them are brought together …"
    )
    began = time.monotonic()
    chosen = slm.assemble(pattern, 1.0)
    slm.wait(PATIENCE_S)
    took = time.monotonic() - began
    output.talk(f"assembled in {took:.1f} s, held for {seconds:g} s …")
    frame = slm.state()["frame"]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
    state = slm.state()
    return {
        "places": len(pattern), "chosen": chosen, "assembled_s": took, "from_frame": frame,
        "until_frame": state["frame"],
        "held": sum(t["hold"] == "held" and t["trap"] in chosen for t in state["traps"]),
        "lost": state["lost"] - before, "state": state["state"],
    }  # fmt: skip


def _until(ready: Callable[[], bool], what: str) -> None:
    from engine.errors import PeerError

    end = time.monotonic() + PATIENCE_S
    while not ready():
        if time.monotonic() > end:
            raise PeerError(f"{PATIENCE_S:g} s passed without {what}")
        time.sleep(0.3)


def _measured(folder: Path, pattern: list[tuple[float, float]], told: dict[str, Any], fps: float) -> dict[str, Any]:
    """From the file: where the beads were in the pattern, and how old the commands."""
    import numpy as np

    from recorders import Run

    rows: pd.DataFrame = Run.open(folder).slm
    shown = rows[rows["shown"] == 1].drop_duplicates("command")
    age_ms = np.percentile(shown["age_ns"], [50, 99, 100]) / 1e6
    held = rows[rows["frame"].between(told["from_frame"], told["until_frame"]) & rows["trap"].isin(told["chosen"])]
    off_x, off_y = (held[axis] - held[f"target_{axis}"] for axis in "xy")
    means = held.groupby("trap")[["x", "y", "target_x", "target_y"]].mean()
    off = np.hypot(means["x"] - means["target_x"], means["y"] - means["target_y"])
    return {
        "rms_px": float(np.sqrt(np.nanmean(np.r_[off_x, off_y] ** 2))), "worst_mean_px": float(np.max(off)),
        "age_p50_ms": age_ms[0], "age_p99_ms": age_ms[1], "age_max_ms": age_ms[2], "frame_ms": 1000 / fps,
        "commands": len(shown),
    }  # fmt: skip


def _table(found: dict[str, Any]) -> str:
    nm = found["rms_px"] * PIXEL_UM * 1000
    rows = [
        ("pattern", f"{found['held']} of {found['places']} places hold their bead; {found['lost']} times one was lost"),
        ("assembled", f"in {found['assembled_s']:.1f} s"),
        ("beads", f"{found['rms_px']:.2f} px RMS of a coordinate about their places ({nm:.0f} nm)"),
        ("", f"mean of the worst one {found['worst_mean_px']:.2f} px off"),
        (
            "camera to light",
            "p50 {age_p50_ms:.1f} ms, p99 {age_p99_ms:.1f} ms, max {age_max_ms:.1f} ms".format(**found),
        ),
        ("", f"{found['commands']} commands; a frame is {found['frame_ms']:.1f} ms"),
        ("light at the end", found["state"]),
        ("frames", f"{found['frames']} recorded, {found['lost_frames']} lost"),
        ("files", f"{found['run_folder']} (commands: table /slm)"),
    ]
    return output.table(rows)
