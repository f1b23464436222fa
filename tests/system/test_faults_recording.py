"""`kill -9` of a whole run that records everything, at random moments: what was safe is readable, and repair mends it.

A recorder that dies alone is started again and loses nothing (tests of the recorders); here nobody is left to do that.
RINGTRACK_KILLS says how often (20).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from numpy.typing import NDArray

from engine.shm.cursors import CursorTable
from recorders import Run
from tests.system.faults import chance, everybody
from tests.system.running import Laboratory, Running, diffusing, wait_until

KILLS = int(os.environ.get("RINGTRACK_KILLS", "20"))
FPS = 100
FRAMES = 3000
LOST_S = 1.0
"""So far the recorders are behind at most (the median of the kills: a busy machine may be slower)."""


def settings_of(stack: bool) -> dict[str, dict[str, Any]]:
    return {
        "camera": {"width": 160, "height": 128, "dtype": "uint16", "fps": FPS},
        "tracking": {"diameter": 11, "separation": 12, "minmass": 400},
        "linking": {"search_range": 5},
        "record": {"images": True, "tiff": True, "tiff_stack": stack, "csv": True, "flush_s": 0.2},
    }


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_a_run_that_is_killed_keeps_all_but_its_last_second_and_is_mended(lab: Laboratory) -> None:
    dice = chance("a whole run")
    frames = diffusing(12, 64, (128, 160), seed=2)
    loop = lab.stack(np.concatenate([frames] * (FRAMES // len(frames) + 1))[:FRAMES])
    lags: list[int] = []
    for kill in range(KILLS):
        stack = bool(kill % 2)
        with lab.started(lab.settings(settings_of(stack)), "--source", loop, "--fps", str(FPS)) as run:
            wait_until(lambda run=run: run.published > FPS // 4, "frames")
            time.sleep(dice.uniform(0.0, 3.0))
            lives = everybody(run)
            safe, behind = done(run), run.published - 1 - min(done(run).values())
            for life in lives:
                life.signal(9)
            run.process.kill()
            for life in lives:
                life.wait()
                life.close()
            folder = run.folder
        lags.append(behind)
        check(lab, folder, frames, safe, stack)
    assert sorted(lags)[len(lags) // 2] <= LOST_S * FPS, lags
    lab.run(lab.settings(settings_of(False)), "--source", lab.stack(frames, "last.tif"))  # a start cleans /dev/shm


def done(run: Running) -> dict[str, int]:
    """The frame up to which each recorder has told that all is safe."""
    found = {}
    for name in ("hdf5", "csv", "images", "tiff"):
        process = run.plan.process(name)
        ring, reader = (
            (run.rings.frames, process.frame_reader)
            if process.frame_reader >= 0
            else (run.rings.results, process.reader)
        )
        found[name] = CursorTable(ring).cursor(reader)
    return found


def check(lab: Laboratory, folder: Path, frames: NDArray[Any], safe: dict[str, int], stack: bool) -> None:
    before = lab.command("inspect", folder, "--json")
    assert before.status == 0, before.stdout + before.stderr  # it can be read as it is, and is not whole
    assert json.loads(before.stdout)["state"] == "cut short"
    assert json.loads(before.stdout)["last_frame"] >= safe["hdf5"]
    mended = lab.command("inspect", folder, "--repair", "--json")
    assert mended.status == 0, mended.stdout + mended.stderr
    report = json.loads(mended.stdout)
    assert (report["state"], report["faults"], report["frames_lost"]) == ("repaired", [], 0)
    assert report["frames_recorded"] == report["last_frame"] + 1 >= safe["hdf5"] + 1
    assert report["images"] == report["images_compared"] >= safe["images"] + 1
    run = Run.open(folder)
    assert run.frames_table["frame"].tolist() == list(range(report["frames_recorded"]))
    assert sorted(set(run.tracks["frame"])) == list(range(report["frames_recorded"]))
    with h5py.File(folder / f"tracking_{folder.name}.h5") as file:  # by whoever knows nothing of us
        assert file["images"].shape[0] == report["images"]
        assert len(file["particles"]) > 0
    assert len(pd.read_hdf(folder / f"tracking_{folder.name}.h5", "tracks")) == len(run.tracks)
    for number in (0, safe["images"] // 2, safe["images"]):
        np.testing.assert_array_equal(run.frames[number], frames[number % len(frames)])
    if stack:
        pages = tifffile.imread(folder / f"{folder.name}_frames.tiff")
        assert len(pages) >= safe["tiff"] + 1
        assert all((page == frames[n % len(frames)]).all() for n, page in enumerate(pages))
    else:
        files = sorted(folder.glob("frames/*/*.tiff"))
        assert [int(path.stem.rsplit("_", 1)[1]) for path in files] == list(range(len(files)))
        assert len(files) >= safe["tiff"] + 1
        assert all((tifffile.imread(path) == frames[n % len(frames)]).all() for n, path in enumerate(files))
    csv = pd.read_csv(folder / f"tracks_{folder.name}.csv", on_bad_lines="skip")
    assert csv["frame"].max() >= safe["csv"]
