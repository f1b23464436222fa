"""Two clocks, their distance and how sure it is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.offset import OffsetEstimator
from engine.clocks import boot_id, measure_utc_offset, monotonic_ns, utc_ns

MS = 1_000_000
S = 1_000_000_000


def test_the_utc_offset_is_measured_with_its_uncertainty() -> None:
    found = measure_utc_offset()
    assert abs(found.to_utc_ns(monotonic_ns()) - utc_ns()) < 50 * MS
    assert 0 < found.error_ns < 50 * MS
    assert found.from_utc_ns(found.to_utc_ns(123)) == 123


def test_the_best_of_many_readings_counts() -> None:
    widths = iter([500, 40, 900, 300])
    clock = {"mono": 0, "reads": 0, "width": 0}

    def mono() -> int:
        if clock["reads"] % 2 == 0:
            clock["width"] = next(widths)
        else:
            clock["mono"] += clock["width"]
        clock["reads"] += 1
        return clock["mono"]

    found = measure_utc_offset(tries=4, mono=mono, utc=lambda: clock["mono"] + clock["width"] // 2 + 7 * S)
    assert found.offset_ns == 7 * S
    assert found.error_ns == 21


def test_a_coarse_utc_clock_is_not_believed_finer_than_its_tick() -> None:
    now = {"t": 0}

    def mono() -> int:
        now["t"] += 4 * MS
        return now["t"]

    found = measure_utc_offset(tries=40, mono=mono, utc=lambda: now["t"] // 15_600_000 * 15_600_000)
    assert found.error_ns >= 15_600_000


def test_the_boot_id_is_one_for_all_processes() -> None:
    assert boot_id() == boot_id()


def run(estimator: OffsetEstimator, offset: int, drift: float, seconds: int, seed: int, rate: int = 20) -> int:
    """Exchange messages with random delays; the true offset grows from `offset` at time 0. Gives the last time."""
    chance = random.Random(seed)
    t = 0
    for i in range(seconds * rate):
        t1 = i * S // rate
        there = 50_000 + round(chance.expovariate(1 / 400_000))
        back = 50_000 + round(chance.expovariate(1 / 200_000))
        at = t1 + there
        t2 = at + offset + round(drift * at)
        t3 = t2 + 300_000
        t4 = at + 300_000 + back
        estimator.add(t1, t2, t3, t4)
        t = t4
    return t


@settings(max_examples=60, deadline=None)
@given(
    offset=st.integers(-(10**15), 10**15),
    drift=st.floats(-200e-6, 200e-6),
    seconds=st.integers(1, 90),
    seed=st.integers(0, 10**6),
)
def test_the_true_offset_lies_in_the_interval(offset: int, drift: float, seconds: int, seed: int) -> None:
    estimator = OffsetEstimator()
    now = run(estimator, offset, drift, seconds, seed)
    found = estimator.estimate(now)
    assert found is not None
    assert abs(found.offset_ns - (offset + drift * now)) <= found.error_ns + 2
    if seconds >= 20:
        assert found.error_ns < 150_000
        assert abs(found.drift_ppm - drift * 1e6) <= found.drift_error_ppm + 0.2
        assert found.drift_error_ppm < 20


def test_the_same_boot_means_exactly_zero() -> None:
    estimator = OffsetEstimator()
    estimator.add(0, 10, 11, 20)
    estimator.same_clock()
    found = estimator.estimate(10**12)
    assert found is not None
    assert (found.offset_ns, found.error_ns) == (0, 0)


def test_nothing_is_known_before_the_first_answer() -> None:
    assert OffsetEstimator().estimate(0) is None


@pytest.mark.parametrize("jump", [5 * S, -5 * S, 3 * MS])
def test_after_a_jump_of_a_clock_the_new_offset_is_found(jump: int) -> None:
    estimator = OffsetEstimator()
    last = run(estimator, 1000, 0.0, 10, 1)
    for i in range(200):
        t1 = last + i * S // 20
        estimator.add(t1, t1 + 100_000 + 1000 + jump, t1 + 200_000 + 1000 + jump, t1 + 300_000)
        found = estimator.estimate(t1 + 300_000)
    assert found is not None
    assert abs(found.offset_ns - (1000 + jump)) <= found.error_ns
    assert found.error_ns < 200_000
