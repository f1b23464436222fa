"""Nothing grows with time: the memory of every process after a million small frames is what it was after some."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from engine.experiment import Experiment
from engine.rings import Rings
from engine.supervisor import start

FRAMES = int(os.environ.get("RINGTRACK_LONG_FRAMES", "1000000"))
SIDE = 64


def anonymous_bytes(pid: int) -> int:
    """Memory of a process that no file and no segment stands behind."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_million_frames_leave_every_process_as_large_as_it_was(tmp_path: Path) -> None:
    settings = {
        "experiment.data": tmp_path, "camera.width": SIDE, "camera.height": SIDE, "camera.fps": 1000,
        "camera.listen": "tcp://127.0.0.1:50192", "control.listen": "tcp://127.0.0.1:50193", "tracking.diameter": 9,
        "tracking.separation": 10, "tracking.minmass": 2000, "tracking.max_ecc": 0, "ring.max_particles": 64,
    }  # fmt: skip
    experiment = Experiment.load(None, [f"{key}={value}" for key, value in settings.items()], environ={})
    source = f"simulated?width={SIDE}&height={SIDE}&beads=2&loop=16&live=0&fps=100000&frames={FRAMES}"
    run = start(experiment, source=source)
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    with Rings(run.plan, owner=False) as rings:
        while rings.frames.newest < FRAMES - 200:
            time.sleep(0.25)  # a look now and then, nothing is waited for
            here = {p.name: rings.block(p.name).pid for p in run.plan.processes}
            try:
                sizes = {name: anonymous_bytes(pid) for name, pid in here.items()}
            except (OSError, StopIteration, psutil.Error):
                continue
            sizes["supervisor"] = anonymous_bytes(os.getpid())
            if not first and rings.frames.newest > FRAMES // 5:
                first = sizes
            last = sizes
    summary = run.wait()
    assert summary.frames_recorded == FRAMES
    assert summary.frames_lost == 0
    for name, before in first.items():
        assert last[name] <= 1.01 * before + 2**20, f"{name}: {before} bytes, then {last[name]}"
