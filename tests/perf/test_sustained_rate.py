"""The rate at which recording is measured: found by trials, never guessed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perf.sustained import SLOWER, TRIALS, NoRateError, main, sustained_rate


def test_the_first_rate_that_loses_nothing_is_taken() -> None:
    tried: list[float] = []

    def lost_at(rate: float) -> int:
        tried.append(rate)
        return int(rate > 35)

    assert sustained_rate(40.0, lost_at) == 32.4
    assert tried == [40.0, 36.0, 32.4]


def test_where_every_trial_loses_frames_none_is_measured_and_all_are_named() -> None:
    tried: list[float] = []

    def lost_at(rate: float) -> int:
        tried.append(rate)
        return 7

    with pytest.raises(NoRateError, match=r"each of 5 trials lost frames \(7 at 40, 7 at 36, .* 7 at 26.2 frames/s\)"):
        sustained_rate(40.0, lost_at)
    assert tried == [round(40 * SLOWER**n, 1) for n in range(TRIALS)]


def test_the_command_stops_there_with_a_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rates: list[float] = []

    def run(size: int, fps: float, seconds: float, data: Path, *, live: bool, **_: Any) -> Any:
        rates.append(fps)
        folder = data / f"run_{len(rates)}"
        folder.mkdir()
        return SimpleNamespace(run_folder=str(folder), fps=50.0, frames_lost=3 if live else 0), None

    monkeypatch.setattr("perf.sustained.run", run)
    monkeypatch.setattr("sys.argv", ["perf.sustained", "--folder", str(tmp_path), "--load", "0.8"])
    assert main() == 3
    assert rates[2:] == [40.0, 36.0, 32.4, 29.2, 26.2]  # and no other
    assert "No rate was found that this machine sustains: each of 5 trials lost frames" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
