"""A run that subtracts a background of its own: every frame says which one, and has trackpy's features without it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import tifffile
import trackpy

from engine.workers.correction import Correction
from engine.workers.moving_background import load_background, path_of
from tests.system.running import Laboratory

SIDE, FRAMES, BEADS = 160, 240, 6
DIAMETER = 11


def test_fringes_that_change_are_subtracted_and_every_frame_says_which_background_was(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:SIDE, :SIDE]
    fringes = [120 * (1 + np.sin((x + slope * y) / 2.5)) for slope in (0.3, -0.7)]  # another one after half the time
    places = rng.uniform(20, SIDE - 20, (BEADS, 2))
    stack = np.zeros((FRAMES, SIDE, SIDE), np.uint16)
    for n in range(FRAMES):
        places = (places + rng.normal(0, 2.0, places.shape)).clip(15, SIDE - 15)
        beads = sum(900 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 12.5) for cy, cx in places)
        stack[n] = rng.poisson(100 + fringes[n >= FRAMES // 2] + beads)
    path = tmp_path / "beads.tif"
    tifffile.imwrite(path, stack)
    lab = Laboratory(tmp_path)
    settings = lab.settings(
        camera={"width": SIDE, "height": SIDE, "fps": 80.0},
        tracking={"diameter": DIAMETER, "separation": DIAMETER + 1, "minmass": 3000.0, "max_ecc": 0.0},
        linking={"search_range": 12.0},
        correction={"background_s": 0.25, "background_frames": 9},
    )
    ended = lab.run(settings, "--source", str(path), "--fps", "80")
    assert ended.counts == (FRAMES, FRAMES, FRAMES, 0), ended.stderr
    record = ended.record
    frames, tracks = record.frames_array, record.tracks_array
    assert len(np.unique(frames["settings"])) >= 4

    said = {}
    for text in record.events["json"]:
        found = re.search(r"(background_\d+\.npy) is subtracted under version (\d+)", text)
        if found:
            said[int(found[2])] = ended.folder / "background" / found[1]
    assert set(said) >= set(frames["settings"].tolist()) - {1}  # nobody else changed anything
    assert path_of(ended.folder, 1).exists()
    for n in (2, FRAMES // 2 - 4, FRAMES - 4):
        version = int(frames["settings"][frames["frame"] == n][0])
        corrected = stack[n]
        if version > 1:
            corrected = Correction.of((SIDE, SIDE), background=load_background(said[version])).corrected(stack[n])
        theirs = trackpy.locate(corrected, DIAMETER, minmass=3000.0)
        ours = tracks[tracks["frame"] == n]
        assert len(ours) == len(theirs)
        assert np.allclose(np.sort(ours["x"]), np.sort(theirs["x"]), atol=1e-6)
        assert np.allclose(np.sort(ours["mass"]), np.sort(theirs["mass"]), rtol=1e-6)
    assert int(frames["settings"][frames["frame"] == FRAMES - 4][0]) > 1
    with_fringes, without = (np.count_nonzero(tracks["frame"] == n) for n in (2, FRAMES - 4))
    assert without <= BEADS < with_fringes
