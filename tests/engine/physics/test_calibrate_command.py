"""`ringtrack calibrate trap` and `calibrate scale`, as people use them."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from click.testing import CliRunner

from engine.cli.calibrate import command
from engine.errors import SettingsError
from engine.experiment import Experiment
from engine.physics.bead import Bead
from engine.physics.plant import Plant
from engine.rows import RESULT_META, ROW
from recorders.hdf5file import RunFile
from recorders.metadata import About

PIXEL_UM, FPS, K = 0.1, 200.0, 1.0


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A finished run of 4000 frames in which particle 0 sits in a trap of 1 pN/µm."""
    folder = tmp_path_factory.mktemp("data") / "run_001"
    folder.mkdir()
    experiment = Experiment.load(None, [f"camera.fps={FPS}", f"camera.pixel_um={PIXEL_UM}"], environ={})
    file = RunFile(folder / "tracking_run_001.h5", About(experiment, "0" * 16, "run_001", utc_offset_ns=0))
    plant = Plant(Bead(radius_um=0.5), np.zeros((1, 2)), seed=4)
    chance = np.random.default_rng(5)
    for frame in range(4000):
        x, y = plant.frame(np.zeros((1, 2)), K, 1 / FPS, 0.5 / FPS)[0] / PIXEL_UM + 50 + chance.normal(0, 0.02, 2)
        meta, rows = np.zeros((), RESULT_META)[()], np.zeros(1, ROW)
        meta["frame"], meta["rows"], meta["exposure_us"] = frame, 1, 0.5e6 / FPS
        rows["frame"], rows["x"], rows["y"], rows["ep"] = frame, x, y, 0.02
        file.frame(meta, rows)
    file.close()
    return folder


@pytest.fixture(scope="module")
def done(run_folder):
    """Once for the module: matplotlib keeps the files of its fonts open."""
    return CliRunner().invoke(command, ["trap", str(run_folder), "--particle", "0", "--json"])


def test_the_trap_of_a_run_is_measured_three_ways_and_drawn(run_folder, done):
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    for axis in ("x", "y"):
        assert [one["method"] for one in found["stiffness"][axis]] == ["equipartition", "power spectrum", "MSD"]
        for one in found["stiffness"][axis]:
            assert one["k"] == pytest.approx(K, rel=0.25)
            assert one["low"] < one["k"] < one["high"]
            assert one["corner_hz"] == pytest.approx(one["k"] / (2 * math.pi * found["drag_pN_s_um"]), rel=1e-6)
    assert found["exposure_us"] == pytest.approx(0.5e6 / FPS)
    assert found["localisation_um"] == pytest.approx(0.002)
    assert (run_folder / "trap_0.png").stat().st_size > 10_000


def test_a_particle_that_is_not_there_is_refused(run_folder):
    done = CliRunner().invoke(command, ["trap", str(run_folder), "--particle", "7"])
    assert "none of that number" in str(done.exception)


def test_the_scale_of_a_ruling_is_stored_with_what_it_is_good_for(tmp_path):
    image = np.tile(np.where(np.arange(300) % 50 < 25, 200, 50).astype("uint8"), (200, 1))
    np.save(tmp_path / "ruling.npy", image)
    out = tmp_path / "scales.jsonl"
    done = CliRunner().invoke(
        command, ["scale", str(tmp_path / "ruling.npy"), "--ruling-um", "10", "--objective", "60x", "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    stored = json.loads(out.read_text())
    assert stored["pixel_um"] == pytest.approx(0.2, rel=1e-3)
    assert (stored["objective"], stored["binning"]) == ("60x", 1)
    assert stored["date"]
    assert stored["person"]


@pytest.mark.parametrize(
    "arguments, says",
    [
        ([], "give IMAGE with --ruling-um, or --points"),
        (["ruling.tif"], "ruling.tif: how far apart are its lines"),
        (["--points", "1,2,3,4"], "give --distance-um"),
        (["--points", "1,2,9,4", "--distance-um", "4", "--stage-um", "4"], "give one of them"),
        (["--points", "1,2,x,4", "--distance-um", "4"], "'1,2,x,4' is not four numbers of pixels"),
        (["--points", "1,2,nan,4", "--distance-um", "4"], "is not four numbers of pixels"),
        (["--points", "1,2,9,4", "--distance-um", "4", "--out", "/nowhere/scales.jsonl"], "--out: /nowhere/scales"),
    ],
)
def test_a_scale_that_is_asked_for_wrongly_is_refused_in_a_sentence(arguments, says):
    done = CliRunner().invoke(command, ["scale", *arguments])
    assert says in done.output + str(done.exception)
    assert done.exit_code


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["--particle", "7"], r"particle 7: .* has none of that number. Seen longest: 0 \(4000 frames\)"),
        (["--particle", "0", "--exposure-us", "6000"], r"6000 is longer than a frame \(5000 µs at 200 frames/s\)"),
    ],
)
def test_a_trap_that_is_asked_for_wrongly_is_refused_in_a_sentence(run_folder, arguments, says):
    done = CliRunner().invoke(command, ["trap", str(run_folder), *arguments])
    assert isinstance(done.exception, SettingsError)
    assert re.search(says, str(done.exception))
