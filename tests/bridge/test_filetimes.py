"""Times of files fitted against the camera's counter."""

from __future__ import annotations

import random

import pytest

from bridge.filetimes import FileTimes

TICK = 15_600_000
S = 1_000_000_000
T0 = 1_790_000_000 * S


def rounded(t: int) -> int:
    return (t + TICK // 2) // TICK * TICK


@pytest.mark.parametrize("fps", [7.0, 24.0, 100.0, 333.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_times_rounded_to_15_6_ms_are_fitted_to_within_a_millisecond(fps: float, seed: int) -> None:
    fit = FileTimes()
    start = T0 + random.Random(seed).randrange(10**9)
    for n in range(3000):
        truth = start + round(n * S / fps)
        found = fit.add(n, rounded(truth))
        assert abs(found.t_ns - truth) <= found.error_ns
        if n >= 1000:
            assert abs(found.t_ns - truth) < 1_000_000


def test_counters_that_were_skipped_do_not_bend_the_line() -> None:
    fit = FileTimes()
    for n in [*range(1500), *range(1505, 3000)]:
        found = fit.add(n, rounded(T0 + n * 10_000_000))
    assert abs(found.t_ns - (T0 + 2999 * 10_000_000)) < 1_000_000


def test_the_odd_late_file_changes_nothing() -> None:
    fit = FileTimes()
    chance = random.Random(3)
    for n in range(3000):
        truth = T0 + n * 10_000_000
        late = chance.randrange(100_000_000, 800_000_000) if n > 50 and chance.random() < 0.03 else 0
        found = fit.add(n, rounded(truth + late))
        if n >= 1000:
            assert abs(found.t_ns - truth) < 1_000_000


def test_after_a_pause_of_the_camera_the_line_begins_anew() -> None:
    fit = FileTimes()
    for n in range(500):
        fit.add(n, T0 + n * 10_000_000)
    for n in range(500, 700):
        found = fit.add(n, T0 + n * 10_000_000 + 60 * S)
    assert abs(found.t_ns - (T0 + 699 * 10_000_000 + 60 * S)) < 1_000_000


def test_a_counter_that_starts_again_begins_a_new_line() -> None:
    fit = FileTimes()
    for n in range(300):
        fit.add(n, T0 + n * 10_000_000)
    first = fit.add(0, T0 + 100 * S)
    assert first.t_ns == T0 + 100 * S
