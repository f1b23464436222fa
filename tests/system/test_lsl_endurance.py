"""Ten minutes of streams, an inlet asleep beside the one that records: no sample missing, none late, stamps and parts
as in the file. `RINGTRACK_LONG_S` makes it another time.

Camera, run and listeners share this machine's cores, and lateness is what is measured: frames are small and rendered
beforehand, so that of two cores one is free. What else the machine computes meanwhile is in the figures.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.system.running import Laboratory
from tests.system.test_lsl_run import XDF, on_loopback, other_side

pytest.importorskip("pylsl")
pyxdf = pytest.importorskip("pyxdf")
SECONDS = float(os.environ.get("RINGTRACK_LONG_S", "600"))
GROUPS = 32


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fps, fields", [(100, ("x", "y", "mass", "ecc", "size")), (200, ("x", "y", "mass", "ecc"))])
def test_every_sample_of_a_long_recording_is_there_in_time_and_equal_to_the_file(
    lab: Laboratory, fps: int, fields: tuple[str, ...]
) -> None:
    on_loopback(lab)
    channels, frames = 1 + GROUPS * (1 + len(fields)), round(SECONDS * fps)
    assert channels == {100: 193, 200: 161}[fps]
    settings = lab.settings(
        experiment={"name": "beads"},
        camera={"width": 128, "height": 128, "fps": float(fps)},
        tracking={"diameter": 13, "separation": 14, "minmass": 4000, "percentile": 90, "max_ecc": 0.0, "workers": 1},
        lsl={"enabled": True, "groups": GROUPS, "fields": list(fields)},
    )
    xdf = lab.folder / "laboratory.xdf"
    with (
        lab.started(settings) as run,
        other_side(lab, str(XDF), "beads_", "3", str(xdf)) as listener,
        other_side(lab, str(XDF), "beads_", "3", str(lab.folder / "asleep.xdf")) as sleeper,
    ):
        for inlet in (listener, sleeper):
            assert inlet.stdout is not None
            assert inlet.stdin is not None
            assert inlet.stdout.readline() == "ready\n"
        os.kill(sleeper.pid, signal.SIGSTOP)
        try:
            source = f"simulated?beads=8&seed=3&distance_px=30&loop=256&fps={fps}&frames={frames}"
            sender = subprocess.run(
                [sys.executable, "-P", "-c", "import sys; from engine.cli import main; sys.exit(main())", "send",
                 source, "--to", run.address],
                env=lab.environment | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=SECONDS + 120, check=False,
            )  # fmt: skip
            ended = run.stop()
        finally:
            sleeper.kill()  # it would go on looking for the streams of a run that is over
        assert listener.stdin is not None
        listener.stdin.close()
        listener.wait(60)
    streams, _ = pyxdf.load_xdf(str(xdf), synchronize_clocks=False)
    stream = next(each for each in streams if each["info"]["name"][0] == "beads_particles")
    delays_ms = 1e3 * np.array(json.loads(Path(xdf.with_suffix(".json")).read_text())["beads_particles"])
    table = ended.record.frames_array
    shown = stream["time_series"]
    assert (sender.returncode, ended.summary["frames_lost"], len(table)) == (0, 0, frames), ended.stderr
    stats = next(each for each in streams if each["info"]["name"][0] == "beads_stats")["time_series"]
    late = "".join(
        f"\n  {step:<12} {np.percentile(after_ms, [50, 99, 100]).round(2)}"
        for step, after_ms in {
            **{n: (table[f"t_{n}_ns"] - table["t_camera_ns"]) / 1e6 for n in ("received", "tracked", "published")},
            "pushed": stats[:, 7],
            "at the inlet": delays_ms,
        }.items()
    )
    print(f"\n{fps} frames/s, {shown.shape}; ms after the camera, p50, p99, max: {late}")
    assert shown.shape == (len(table), channels)
    assert shown[:, 0].tolist() == table["frame"].tolist()
    assert np.percentile(delays_ms, 99) < 50, late
    assert np.abs(stream["time_stamps"] - table["t_camera_ns"] / 1e9).max() < 1e-3
    blocks = shown[:, 1:].reshape(len(shown), GROUPS, 1 + len(fields))
    n, group = np.nonzero(~np.isnan(blocks[:, :, 0]))
    at = list(zip(shown[n, 0].astype(int), blocks[n, group, 0].astype(int)))
    tracks = ended.record.tracks_array
    assert sorted(at) == sorted(zip(tracks["frame"].tolist(), tracks["particle"].tolist()))
    row_of = {pair: row for row, pair in enumerate(zip(tracks["frame"].tolist(), tracks["particle"].tolist()))}
    rows = tracks[[row_of[pair] for pair in at]]
    for column, name in enumerate(fields, 1):
        np.testing.assert_array_equal(blocks[n, group, column], rows[name].astype(float), err_msg=name)
