"""The closed loop running free: from camera to command, and what feedback reaches beside what theory says it can.

    python -m perf.light_loop                    512 x 512 at 100 frames/s, 9 beads in soft traps, about a minute
    python -m perf.light_loop --seconds 5 --json
    python -m perf.light_loop --plot delays.png  the distribution of the delay of each gain, as a picture

Everything runs here: camera (which renders, and sets off its frames), wire, ring, tracker, linker, holograms of
512 x 512, file. All figures are read from the run's file. Without feedback, then with P of two gains; the variance of
the beads relative to no feedback is beside the solution of the discrete Lyapunov equation *averaged over the delays
that were measured* (linear between whole frames). *sent* to *shown*: medians of each leg of the way, in milliseconds;
*n frames late*: the share of commands whose delay is more than n - 1 and at most n frame times.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import numpy as np

from bridge import Client
from bridge.control import local_address
from bridge.slm.registration import Optics, register
from engine.clocks import utc_ns
from engine.errors import SettingsError
from engine.experiment import Experiment
from engine.physics.loop import variance_ratio
from engine.supervisor import start
from perf.common import Spread, arguments, machine, report, say
from recorders import Run

if TYPE_CHECKING:
    import pandas as pd

    from bridge.slm.client import LightClient

STIFFNESS, REACH_UM, PIXEL_UM = 0.2, 1.2, 0.1
LONGEST_S = 60.0
FEWEST = 100  # commands that a row is made of
LEGS = ("camera", "sent", "received", "tracked", "linked")


def settings(folder: Path, size: int, fps: float, modulator: int) -> tuple[Experiment, str]:
    """The experiment and its source."""
    camera = np.array([[0.0, 0], [size, 0], [0, size], [size, size]])
    made = register(camera, (camera - size / 2) * 0.32 * modulator / size, utc_ns(), Optics(region=(0, 0, size, size)))
    registration = folder / "registration.json"
    registration.write_bytes(msgspec.json.encode(made))
    display = "tcp://127.0.0.1:50176"
    wanted = {
        "experiment.data": folder, "camera.width": size, "camera.height": size, "camera.fps": fps,
        "camera.pixel_um": PIXEL_UM, "camera.listen": "tcp://127.0.0.1:50174",
        "control.listen": "tcp://127.0.0.1:50175", "tracking.diameter": 13, "tracking.separation": 14,
        "tracking.minmass": 4000, "tracking.percentile": 90, "tracking.max_ecc": 0, "linking.search_range": 10,
        "slm.enabled": "true", "slm.display": display, "slm.width": modulator, "slm.height": modulator,
        "slm.registration": registration, "slm.reach_um": REACH_UM, "slm.stiffness_pN_um": STIFFNESS,
        "slm.clearance": 30, "slm.farthest": 8, "slm.greatest_step": 20, "slm.hold_s": 0.3,
    }  # fmt: skip
    scene = {
        "width": size, "height": size, "beads": 9, "fps": fps, "seed": 2, "distance_px": 80, "light": display,
        "registration": registration, "stiffness_pN_um": STIFFNESS, "reach_um": REACH_UM,
        "exposure_ms": min(2.0, 500 / fps),
    }  # fmt: skip
    experiment = Experiment.load(None, [f"{key}={value}" for key, value in wanted.items()], environ={})
    return experiment, "simulated?" + urlencode(scene)


def caught(light: LightClient) -> None:
    """Armed, with beads in traps. Raises TimeoutError."""
    end = time.monotonic() + LONGEST_S
    while light.state()["frame"] < 20:
        time.sleep(0.1)
    light.arm()
    while time.monotonic() < end:
        light.catch()
        time.sleep(0.5)
        traps = light.state()["traps"]
        if len(traps) == 9 and all(trap["hold"] == "held" for trap in traps):
            return
        if empty := [trap["trap"] for trap in traps if trap["hold"] != "held"]:
            light.release(empty)
    raise TimeoutError(f"{LONGEST_S:g} s passed without 9 beads in traps")


def motion(rows: pd.DataFrame) -> tuple[float, float]:
    """Variance of a coordinate about its target, px², and a = exp(-dt/τ) from its covariances at one and two frames.

    Localisation noise is in neither covariance. a is meant for beads without feedback.
    """
    variances, first, second = [], [], []
    for _, bead in rows[rows["held"] == 1].groupby("trap"):
        for axis in "xy":
            off = (bead[axis] - bead[f"target_{axis}"]).to_numpy()
            off = off - off.mean()
            variances.append(np.var(off))
            first.append(np.mean(off[1:] * off[:-1]))
            second.append(np.mean(off[2:] * off[:-2]))
    return float(np.mean(variances)), float(np.mean(second) / np.mean(first))


def predicted(gain: float, dt_over_tau: float, delays: np.ndarray) -> float:
    """The relative variance of theory, averaged over delays in frames."""
    whole = np.arange(int(delays.max()) + 2)
    return float(np.interp(delays, whole, [variance_ratio(gain, dt_over_tau, int(d)) for d in whole]).mean())


def measure(
    size: int, fps: float, modulator: int, seconds: float, gains: tuple[float, ...], plot: Path | None = None
) -> list[dict[str, Any]]:
    """One run; a row for each gain, with the distribution of its delay in whole frames."""
    stretches: list[tuple[float, int, int]] = []
    with tempfile.TemporaryDirectory(prefix="light_loop_") as name:
        experiment, source = settings(Path(name), size, fps, modulator)
        with start(experiment, source=source) as run:
            with Client(local_address(run.plan.run_id)) as client:
                caught(client.slm)
                for gain in gains:
                    try:
                        client.slm.feedback("p" if gain else "off", gain)
                    except SettingsError as error:  # with so long a delay
                        say(f"gain {gain:g} is left out: {error}")
                        continue
                    time.sleep(1.0)  # until the beads have forgotten what was before
                    since = client.slm.state()["frame"]
                    time.sleep(seconds)
                    stretches.append((gain, since, client.slm.state()["frame"]))
            run.stop()
            folder = run.run_folder
        record = Run.open(folder)
        commands = record.slm
        frames = record.frames_table.set_index("frame")
    found, free, dt_over_tau = [], float("nan"), float("nan")
    delays: dict[float, np.ndarray] = {}
    for gain, since, until in stretches:
        rows = commands[commands["frame"].between(since, until) & (commands["shown"] == 1)]
        one = rows.drop_duplicates("command")
        if len(one) < FEWEST:
            say(f"gain {gain:g} is left out: {len(one)} commands were shown. Try a quieter machine or a lower --fps")
            continue
        times = frames.loc[one["frame"]]
        age_ms = one["age_ns"].to_numpy() / 1e6
        ends = [*(times[f"t_{leg}_ns"].to_numpy() for leg in LEGS), one["t_command_ns"].to_numpy()]
        variance, a = motion(rows)
        if not gain:
            free, dt_over_tau = variance, -float(np.log(a))
        age = Spread.of(list(age_ms))
        legs = {name: float(np.median(ends[i + 1] - ends[i])) / 1e6 for i, name in enumerate([*LEGS[1:], "shown"])}
        delays[gain] = age_ms
        found.append({
            "gain": gain, "commands": len(one), "p50 ms": age.p50, "p99 ms": age.p99, "max ms": age.max,
            **{f"{n} frames late": float((np.ceil(age_ms * fps / 1000) == n).mean()) for n in (1, 2, 3)},
            **legs, "delay frames": float(age_ms.mean() * fps / 1000), "dt/tau": dt_over_tau,
            "variance": variance / free,
            "predicted": predicted(gain, dt_over_tau, age_ms * fps / 1000) if gain else 1.0,
        })  # fmt: skip
    if plot is not None and found:
        draw(plot, found, delays, 1000 / fps)
    return found


def draw(path: Path, rows: list[dict[str, Any]], delays: dict[float, np.ndarray], frame_ms: float) -> None:
    """The distribution of the delay, a curve for each gain; the goal of two frame times."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0, max(3 * frame_ms, *(float(np.percentile(d, 99.5)) for d in delays.values())), 80)
    for row in rows:
        label = f"gain {row['gain']:g}: p99 {row['p99 ms']:.1f} ms; variance {row['variance']:.2f}"
        label += f", predicted {row['predicted']:.2f}" if row["gain"] else ""
        axes.hist(delays[row["gain"]], bins=list(edges), histtype="step", density=True, label=label)
    axes.axvline(2 * frame_ms, color="grey", linestyle=":", label="two frame times")
    axes.set_xlabel("camera to command (ms)")
    axes.set_ylabel("share of commands per ms")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="for each gain")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--fps", type=float, default=100.0)
    parser.add_argument("--modulator", type=int, default=512)
    parser.add_argument("--plot", type=Path, help="draw the distributions of the delay into this file")
    asked = parser.parse_args()
    before = machine()
    say(f"{asked.size} x {asked.size} at {asked.fps:g} frames/s, gains 0, 0.5 and 1")
    rows = measure(asked.size, asked.fps, asked.modulator, asked.seconds, (0.0, 0.5, 1.0), asked.plot)
    report("The closed loop running free", rows, before, as_json=asked.json)


if __name__ == "__main__":
    main()
