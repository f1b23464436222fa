"""Corrections: the features are those of trackpy on the corrected frame, whatever the tiles; recorded pixels stay."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trackpy
from numpy.typing import NDArray

from engine import calibration
from engine.cli import status_of
from engine.errors import SettingsError
from engine.experiment import Experiment
from engine.rows import RESULT_META, ROW
from engine.workers.configure import correction_for, detector_for
from engine.workers.correction import Correction

HEIGHT, WIDTH = 253, 317
BEADS = 40


class Bench:
    """A camera with an offset, 30 % vignetting, fringes and 200 hot pixels, and what calibration sees of it."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        r2 = ((y - HEIGHT / 2) ** 2 + (x - WIDTH / 2) ** 2) / ((HEIGHT / 2) ** 2 + (WIDTH / 2) ** 2)
        self.light = 1 - 0.3 * r2
        self.fringes = 40 * np.sin((x + 0.4 * y) / 3.0)
        self.hot = np.zeros((HEIGHT, WIDTH), bool)
        self.hot.ravel()[rng.choice(HEIGHT * WIDTH, 200, replace=False)] = True
        self.rng = rng
        places = []
        while len(places) < BEADS:
            place = rng.uniform(20, (HEIGHT - 21, WIDTH - 21))
            if all(np.hypot(*(place - other)) > 26 for other in places):
                places.append(place)
        self.truth = np.array(places)
        self.beads = sum(1500 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 3.0**2)) for cy, cx in self.truth)

    def clean(self) -> NDArray[np.uint16]:
        return self.rng.poisson(100 + self.beads).astype(np.uint16)

    def camera(self, scene: Any) -> NDArray[np.uint16]:
        frame = self.rng.poisson(np.maximum(scene, 0)) + self.rng.normal(200, 3, (HEIGHT, WIDTH))
        frame[self.hot] += 3000
        return frame.clip(0, 65535).astype(np.uint16)

    def frame(self) -> NDArray[np.uint16]:
        return self.camera((100 + self.beads) * self.light + self.fringes)

    def darks(self) -> list[NDArray[np.uint16]]:
        return [self.camera(np.zeros((HEIGHT, WIDTH))) for _ in range(30)]

    def flats(self) -> list[NDArray[np.uint16]]:
        return [self.camera(20_000 * self.light) for _ in range(30)]

    def backgrounds(self) -> list[NDArray[np.uint16]]:
        return [self.camera(100 * self.light + self.fringes) for _ in range(30)]


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


@pytest.fixture(scope="module")
def files(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("calibration")
    made = {
        "dark": calibration.mean_frame(bench.darks())[0],
        "flat": calibration.mean_frame(bench.flats())[0],
        "background": calibration.median_frame(bench.backgrounds())[0],
        "bad_pixels": calibration.bad_pixels(bench.darks())[0],
    }
    for name, array in made.items():
        np.save(folder / f"{name}.npy", array)
    return {name: str(folder / f"{name}.npy") for name in made}


def experiment(files: dict[str, str], *more: str) -> Experiment:
    settings = [f"correction.{name}={path}" for name, path in files.items()]
    settings += [f"camera.width={WIDTH}", f"camera.height={HEIGHT}", "tracking.diameter=15", "tracking.separation=14"]
    settings += ["tracking.max_ecc=0", "tracking.minmass=4000", "tracking.percentile=64"]
    return Experiment.load(None, settings + list(more), environ={})


def tracked(experiment: Experiment, frame: NDArray[Any]) -> tuple[NDArray[Any], Any]:
    detector = detector_for(experiment)
    scratch, rows = np.zeros(detector.scratch_bytes, np.uint8), np.zeros(2000, ROW)
    meta = np.zeros(1, RESULT_META)
    for number, step in enumerate(detector.steps):
        for tile in reversed(range(1 if step.whole else detector.tiles)):
            detector.run(number, tile, frame, scratch, rows, meta)
    return rows[: int(meta["rows"][0])], meta[0]


def errors(found: Any, truth: NDArray[Any]) -> NDArray[Any]:
    distance = np.hypot(found["y"][:, None] - truth[:, 0], found["x"][:, None] - truth[:, 1])
    return distance.min(axis=0)


def test_every_hot_pixel_is_found_and_hardly_another(bench: Bench, files: dict[str, str]) -> None:
    found = np.load(files["bad_pixels"])
    assert np.all(found[bench.hot])
    assert found.sum() < 210


@pytest.mark.parametrize("tile", [(0, 0), (61, 77)])
def test_features_are_trackpys_on_the_corrected_frame(bench: Bench, files: dict[str, str], tile: Any) -> None:
    frame = bench.frame()
    settings = experiment(files, f"tracking.tile_height={tile[0]}", f"tracking.tile_width={tile[1]}")
    rows, _ = tracked(settings, frame)
    correction = Correction.from_settings(settings.correction, settings.camera)
    assert correction is not None
    expected = trackpy.locate(correction.corrected(frame), 15, separation=14, minmass=4000, percentile=64)
    assert len(rows) == len(expected)
    for name in ("y", "x", "mass", "size", "ecc", "signal", "raw_mass"):
        tolerance = 1e-7 if name in "yx" else 3e-6  # rows hold the others as float32
        np.testing.assert_allclose(rows[name], expected[name].to_numpy(), rtol=tolerance, atol=1e-6)


def test_no_hot_pixel_is_a_feature_and_beads_are_as_exact_as_in_a_clean_frame(
    bench: Bench, files: dict[str, str]
) -> None:
    squares: dict[str, list[float]] = {"clean": [], "corrected": []}
    bench.rng = np.random.default_rng(9)
    for _ in range(25):
        corrected, _ = tracked(experiment(files), bench.frame())
        clean, _ = tracked(experiment({}), bench.clean())
        assert len(corrected) == len(clean) == BEADS
        squares["corrected"].append(float(np.mean(errors(corrected, bench.truth) ** 2)))
        squares["clean"].append(float(np.mean(errors(clean, bench.truth) ** 2)))
    rms = {name: np.sqrt(np.mean(values)) for name, values in squares.items()}
    assert rms["corrected"] <= 1.1 * rms["clean"]


def test_saturated_pixels_are_counted_in_the_raw_frame(bench: Bench, files: dict[str, str]) -> None:
    frame = bench.frame()
    y, x = (round(v) for v in bench.truth[0])
    frame[y - 1 : y + 2, x - 1 : x + 2] = 4095
    rows, meta = tracked(experiment(files, "camera.bits=12"), frame)
    nearest = rows[np.argmin(np.hypot(rows["y"] - y, rows["x"] - x))]
    assert nearest["saturated"] >= 9
    assert meta["saturated"] == np.count_nonzero(frame >= 4095)


def test_the_region_and_the_mask_leave_out_what_they_name(bench: Bench, tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:, 200:260] = True
    np.save(tmp_path / "mask.npy", mask)
    settings = experiment({"mask": str(tmp_path / "mask.npy")}, "correction.region=30:220, 10:300")
    rows, _ = tracked(settings, bench.clean())
    assert len(rows) > 10
    inside = (rows["y"] > 25) & (rows["y"] < 225) & ((rows["x"] < 205) | (rows["x"] > 255)) & (rows["x"] < 305)
    assert inside.all()


def test_other_calibration_files_are_another_version_of_the_settings(files: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "dark.npy"
    np.save(path, np.zeros((HEIGHT, WIDTH), np.float32))
    before = experiment({"dark": str(path)}).version_hash()
    np.save(path, np.ones((HEIGHT, WIDTH), np.float32))
    assert experiment({"dark": str(path)}).version_hash() != before


def test_a_file_of_another_shape_is_refused_with_both_shapes(tmp_path: Path) -> None:
    np.save(tmp_path / "dark.npy", np.zeros((10, 12), np.float32))
    with pytest.raises(SettingsError, match="10 x 12 pixels are not those of the frames, 253 x 317"):
        detector_for(experiment({"dark": str(tmp_path / "dark.npy")}))


def test_the_command_makes_what_the_settings_name(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "frames.npy", np.array(bench.darks()[:9]))
    for what in ("dark", "flat", "background", "bad-pixels"):
        assert status_of(["calibrate", what, "frames.npy"]) == 0
        name = what.replace("-", "_")
        assert f'{name} = "{name}.npy"' in capsys.readouterr().out
        assert np.load(tmp_path / f"{name}.npy").shape == (HEIGHT, WIDTH)


def test_every_pixel_is_rounded_alike_in_vectors_and_at_the_end_of_a_row(bench: Bench, files: dict[str, str]) -> None:
    arrays = {name: np.load(files[name]) for name in ("dark", "flat")}
    correction = Correction.of((HEIGHT, WIDTH), **arrays)
    frame = bench.rng.integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
    assert correction.base.dtype == correction.gain.dtype == np.float32
    value = (frame.astype(np.float32) - correction.base) * correction.gain + np.float32(100.5)
    expected = np.floor(value.clip(0, 65535)).astype(np.uint16)
    np.testing.assert_array_equal(correction.corrected(frame), expected)


def test_files_are_read_again_only_when_they_are_others(tmp_path: Path) -> None:
    dark = tmp_path / "dark.npy"
    np.save(dark, np.full((40, 50), 3.0, np.float32))
    experiment = Experiment.load(
        None, ["camera.width=50", "camera.height=40", "tracking.diameter=5", "tracking.separation=6",
               f"correction.dark={dark}"],
    )  # fmt: skip
    first = correction_for(experiment)
    assert correction_for(experiment) is first
    np.save(dark, np.full((40, 50), 7.0, np.float32))
    os.utime(dark, ns=(1, 1))
    again = correction_for(experiment)
    assert again is not None
    assert again.base[0, 0] == 7.0
