"""The rate at which recording is measured: found by trials, never guessed."""

from __future__ import annotations

import pytest

from perf.sustained import SLOWER, TRIALS, NoRateError, sustained_rate


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
