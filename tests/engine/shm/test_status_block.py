"""Status blocks: what a process said of itself outlives it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.shm.ledger import Ledger, LedgerOverrunError
from engine.shm.status import BLOCK_BYTES, Command, ProcessState, StatusBlock, bin_of, quantiles_ms, top_of
from tests.engine.shm.shm_model_memory import Memory


def blocks() -> tuple[StatusBlock, StatusBlock]:
    """A process's block (the second of the segment), as the process and as somebody who looks on see it."""
    memory = Memory(3 * BLOCK_BYTES)
    return (
        StatusBlock(memory, BLOCK_BYTES),
        StatusBlock(memory.attached(), BLOCK_BYTES),
    )


def test_counters_go_on_when_a_process_starts_again() -> None:
    block, onlooker = blocks()
    assert onlooker.counters() == {}
    block.open(100, 1, ["received", "dropped"])
    block.count("received")
    block.count("received", 4)
    block.set("dropped", 7)
    block.observe_ns(1000)
    onlooker.reset()
    again = StatusBlock(Memory(0, block._words), 0)
    again.open(101, 2, ())  # before it knows what it will count
    assert onlooker.counters() == {"received": 5, "dropped": 7}
    again.open(101, 2, ["received", "dropped"])
    again.count("received")
    again.observe_ns(1000)
    assert onlooker.counters() == {"received": 6, "dropped": 7}
    assert onlooker.histogram().sum() == 2
    assert onlooker.pid == 101


def test_other_counters_have_other_names_and_never_half_a_name() -> None:
    block, onlooker = blocks()
    block.open(1, 1, ["a_long_name_of_a_counter", "b"])
    block.open(1, 1, ["c"])
    assert list(onlooker.counters()) == ["c"]


def test_a_block_has_room_for_64_counters() -> None:
    block, _ = blocks()
    block.open(1, 1, [f"counter_{i}" for i in range(64)])
    with pytest.raises(ValueError, match="65 counters, a block has room for 64"):
        block.open(1, 1, [f"counter_{i}" for i in range(65)])
    with pytest.raises(ValueError, match="names of the counters"):
        block.open(1, 1, ["x" * 5000])
    with pytest.raises(KeyError):
        block.count("never named")


def test_state_beats_and_commands() -> None:
    block, supervisor = blocks()
    assert supervisor.state is ProcessState.ABSENT
    block.open(1, 1, ())
    assert supervisor.state is ProcessState.STARTING
    block.ready()
    assert supervisor.state is ProcessState.READY
    block.beat()
    block.beat()
    assert supervisor.beats == 2
    assert not block.stopping
    supervisor.command(Command.STOP)
    assert block.stopping
    supervisor.promote(0)
    assert block.promoted == 1
    supervisor.reset()
    assert (block.stopping, block.promoted, block.pid, supervisor.state) == (False, 0, 0, ProcessState.ABSENT)
    assert supervisor.beats == 2, "progress is counted on, so a change is always a change"


@given(st.integers(0, 2**46))
def test_a_bin_holds_what_is_at_most_6_percent_below_its_top(latency_ns: int) -> None:
    top = top_of(bin_of(latency_ns))
    assert latency_ns <= top <= latency_ns * (1 + 1 / 16)
    assert bin_of(top) == bin_of(latency_ns)
    assert bin_of(top + 1) == bin_of(latency_ns) + 1


def test_what_is_beyond_the_histogram_lands_in_its_ends() -> None:
    block, onlooker = blocks()
    block.observe_ns(-5)
    block.observe_ns(2**62)
    assert np.flatnonzero(onlooker.histogram()).tolist() == [0, len(onlooker.histogram()) - 1]


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**32), st.sampled_from(["lognormal", "uniform", "two kinds", "all equal"]))
def test_quantiles_are_those_of_numpy_within_6_percent(count: int, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    latencies_ns = {
        "lognormal": lambda: rng.lognormal(14, 2, count),
        "uniform": lambda: rng.uniform(0, 1e8, count),
        "two kinds": lambda: np.where(rng.random(count) < 0.98, 4e6, 9e8),
        "all equal": lambda: np.full(count, 12_345_678),
    }[kind]().astype(np.int64)
    histogram = np.bincount([bin_of(int(v)) for v in latencies_ns])
    found = quantiles_ms(histogram)
    assert found["count"] == count
    for name, part in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)):
        true_ms = float(np.quantile(latencies_ns, part, method="inverted_cdf")) / 1e6
        assert true_ms - 1e-9 <= found[name] <= true_ms * (1 + 1 / 16) + 1e-6, name


def test_no_latencies_have_no_quantiles() -> None:
    found = quantiles_ms(np.zeros(700, np.int64))
    assert found["count"] == 0
    assert np.isnan(found["p50"])
    assert np.isnan(found["max"])


LOSS = np.dtype([("first", "<i8"), ("last", "<i8")])


def test_a_ledger_keeps_its_newest_records_and_says_when_older_ones_are_asked_for() -> None:
    memory = Memory(Ledger.bytes(4, LOSS))
    ledger, reader = (Ledger(m, 0, 4, LOSS) for m in (memory, memory.attached()))
    assert reader.last() is None
    assert len(reader.read(0, 0)) == 0
    for n in range(6):
        ledger.append(n, 10 * n)
    assert reader.count == 6
    assert reader.read(3, 6)["last"].tolist() == [30, 40, 50]
    last = reader.last()
    assert last is not None
    assert last["first"][0] == 5
    # Record 2 is still there, but the next one may be overwriting it at this moment.
    with pytest.raises(LedgerOverrunError, match="records 2 to 2 are gone"):
        reader.read(2, 6)


def test_a_ledger_record_is_there_when_its_count_is() -> None:
    memory = Memory(Ledger.bytes(4, LOSS))
    ledger = Ledger(memory, 0, 4, LOSS)
    for step in ledger._append((1, 2)):
        assert (step, ledger.count, ledger.last()) in [("ledger.1", 0, None), ("ledger.2", 0, None)]
    assert ledger.count == 1
