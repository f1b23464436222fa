"""`ringtrack preview`: proposals from simulated frames whose truth is known, and its warnings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from engine.cli import status_of

SOURCE = "simulated?width=512&height=400&beads=60&sigma_px=3.8&signal=1500&distance_px=34&seed=4"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preview")
    assert status_of(["preview", SOURCE, "--out", str(folder / "first.png")]) == 0  # matplotlib keeps its fonts open
    return folder


def preview(capsys: pytest.CaptureFixture[str], out: Path, *settings: str) -> tuple[dict[str, Any], str]:
    options = [option for setting in settings for option in ("--set", setting)]
    assert status_of(["preview", SOURCE, "--out", str(out), "--json", *options]) == 0
    told = capsys.readouterr()
    return json.loads(told.out), told.err


def test_it_draws_and_proposes_what_the_simulation_was_made_with(
    capsys: pytest.CaptureFixture[str], seen: Path
) -> None:
    facts, _ = preview(capsys, seen / "a.png")
    assert (seen / "a.png").read_bytes().startswith(b"\x89PNG")
    assert facts["real"] == 60
    assert 500 < facts["minmass"] < 60_000
    assert facts["diameter"] in (19, 21, 23)
    assert 0 <= facts["percentile"] <= 64
    assert 1.0 <= facts["search_range"] <= facts["neighbour_px"] / 2


def test_it_warns_when_most_features_are_noise(capsys: pytest.CaptureFixture[str], seen: Path) -> None:
    facts, err = preview(capsys, seen / "b.png", "tracking.minmass=100", "tracking.max_ecc=0")
    assert "most features are noise" in err
    assert facts["kept"] > 2 * facts["real"]
    _, err = preview(capsys, seen / "b.png", f"tracking.minmass={facts['minmass']}", "tracking.max_ecc=0")
    assert "noise" not in err


def test_it_warns_when_the_search_range_reaches_the_neighbours(capsys: pytest.CaptureFixture[str], seen: Path) -> None:
    _, err = preview(capsys, seen / "c.png", "linking.search_range=45")
    assert "linking.search_range = 45 is more than half the mean distance" in err
    _, err = preview(capsys, seen / "c.png", f"linking.search_range={float(err.split('Try ')[-1].split()[0])}")
    assert "search_range" not in err


def test_it_warns_of_settings_that_leave_nothing_or_drop_much(capsys: pytest.CaptureFixture[str], seen: Path) -> None:
    _, err = preview(capsys, seen / "c.png", "tracking.minmass=1e9")
    assert "no feature passes tracking.minmass = 1e+09; the heaviest of" in err
    _, err = preview(capsys, seen / "c.png", f"tracking.minmass={float(err.split('Try ')[1].split()[0])}")
    assert "no feature" not in err
    _, err = preview(capsys, seen / "c.png", "tracking.maxmass=101", "tracking.max_ecc=0.9")
    assert "no feature passes the limits; of " in err
    assert "tracking.maxmass = 101 drops" in err
    _, err = preview(capsys, seen / "c.png", "tracking.invert=true")
    assert "seems to be bright. If your particles are, set tracking.invert = false" in err
    _, err = preview(capsys, seen / "c.png", "tracking.diameter=11", "tracking.separation=18")
    assert "tracking.separation = 18 is far above tracking.diameter = 11" in err
    _, err = preview(capsys, seen / "c.png", "tracking.max_ecc=0.001")
    assert "tracking.max_ecc = 0.001 drops 60 of 60 features that seem real" in err
    _, err = preview(capsys, seen / "c.png")
    assert not [told for told in ("separation", "max_ecc", "invert", "no feature") if told in err]


def _picture(spots: int, height: float) -> NDArray[np.uint16]:
    """Spots on noise around 500."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:400, :512]
    image = np.full((400, 512), 500.0)
    for at in rng.uniform(40, 360, (spots, 2)):
        image += height * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * 3.8**2))
    return rng.poisson(image).astype(np.uint16)


def _of(capsys: pytest.CaptureFixture[str], seen: Path, image: NDArray[np.uint16], *settings: str) -> str:
    tifffile.imwrite(seen / "picture.tif", image)
    options = [option for setting in settings for option in ("--set", setting)]
    out = str(seen / "d.png")
    assert status_of(["preview", str(seen / "picture.tif"), "--out", out, "--json", *options]) == 0
    return capsys.readouterr().err


def test_it_warns_of_dark_particles_and_not_of_a_dark_edge(capsys: pytest.CaptureFixture[str], seen: Path) -> None:
    few_dark, few_bright = _picture(8, -350.0), _picture(8, 1500.0)
    assert "set tracking.invert = true" in _of(capsys, seen, few_dark)
    assert "invert" not in _of(capsys, seen, few_dark, "tracking.invert=true")
    framed = few_bright.copy()
    framed[:, :12] = 0  # a field stop, or columns that the camera does not read
    y, x = np.mgrid[:400, :512]
    framed[np.hypot(y - 200, x - 256) > 250] = 0
    for image in (few_bright, framed):
        assert "invert =" not in _of(capsys, seen, image)
    told = _of(capsys, seen, _picture(0, 0.0), "tracking.minmass=20")
    assert "invert =" not in told
    assert "the masses show no gap, so they do not tell noise from particles" in told


def test_it_says_when_there_is_nothing_to_find(capsys: pytest.CaptureFixture[str], seen: Path) -> None:
    told = _of(capsys, seen, np.zeros((400, 512), np.uint16))
    assert "nothing is found in this picture, whatever the limits" in told
    assert "minmass" not in told


def test_the_lines_that_it_prints_are_settings(capsys: pytest.CaptureFixture[str], seen: Path) -> None:
    import tomllib

    from engine.experiment import Experiment

    assert status_of(["preview", SOURCE, "--out", str(seen / "d.png"), "--frames", "2"]) == 0
    text = capsys.readouterr().out
    assert set(tomllib.loads(text)) == {"tracking", "linking"}
    assert Experiment.loads(text).tracking.minmass > 500


def test_a_source_that_is_not_there_is_told_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["preview", "nowhere.tif"]) == 2
    assert "nowhere.tif is neither" in capsys.readouterr().err
