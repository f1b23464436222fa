"""The linker's state: computed from one copy into another, never growing, the same when done again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.rows import ROW
from engine.workers.link_state import LinkState


class Chain:
    """Two copies of a state that take turns, as in a run."""

    def __init__(self, search_range: float = 5.0, memory: int = 2, max_particles: int = 50) -> None:
        self.state = LinkState(search_range, memory, max_particles)
        self.copies = np.zeros((2, self.state.bytes), np.uint8)

    def link(
        self, frame: int, points: list[tuple[float, float]], *, t_ns: int | None = None, new_sequence: bool = False
    ) -> NDArray[Any]:
        """Rows of a frame with points (x, y); then the other copy is the one in force."""
        rows = np.zeros(len(points), ROW)
        rows["particle"] = -1
        rows["x"], rows["y"] = [p[0] for p in points], [p[1] for p in points]
        before = self.copies[0].copy()
        time_ns = frame * 10_000_000 if t_ns is None else t_ns
        for _ in range(2):  # again: the same bytes
            self.state.advance(
                self.copies[0], self.copies[1], frame_number=frame, new_sequence=new_sequence, t_source_ns=time_ns,
                rows=rows,
            )  # fmt: skip
            again = rows.tobytes(), self.copies[1].tobytes()
        assert (rows.tobytes(), self.copies[1].tobytes()) == again
        np.testing.assert_array_equal(self.copies[0], before)
        self.copies = self.copies[::-1].copy()
        return rows

    @property
    def statistics(self) -> dict[str, int]:
        return self.state.statistics(self.copies[0])


def test_velocity_is_in_pixels_per_second_of_the_source() -> None:
    chain = Chain()
    first = chain.link(0, [(10, 10)])
    assert np.isnan(first["vx"]).all()
    assert first["age"].tolist() == [0]
    rows = chain.link(1, [(12, 9)], t_ns=10_000_000)
    assert rows["vx"].tolist() == [200.0]
    assert rows["vy"].tolist() == [-100.0]
    later = chain.link(3, [(12, 12)], t_ns=40_000_000)
    assert later["vy"].tolist() == [100.0]
    assert later["age"].tolist() == [3]
    assert later["particle"].tolist() == [0]


def test_times_that_stand_still_give_no_velocity() -> None:
    chain = Chain()
    chain.link(0, [(10, 10)], t_ns=5)
    assert np.isnan(chain.link(1, [(11, 10)], t_ns=5)["vx"]).all()


@pytest.mark.parametrize("memory", [0, 1, 3])
def test_missing_frame_numbers_use_up_the_memory(memory: int) -> None:
    for gap in range(1, 6):
        chain = Chain(memory=memory)
        chain.link(100, [(10, 10)])
        rows = chain.link(100 + gap, [(10, 10)])
        assert rows["particle"].tolist() == [0 if gap <= memory + 1 else 1]


def test_frames_without_rows_use_it_up_alike() -> None:
    chain = Chain(memory=2)
    chain.link(0, [(10, 10)])
    chain.link(1, [])
    chain.link(2, [])
    assert chain.link(3, [(10, 10)])["particle"].tolist() == [0]
    chain.link(4, [])
    chain.link(5, [])
    chain.link(6, [])
    assert chain.link(7, [(10, 10)])["particle"].tolist() == [1]


def test_a_new_sequence_links_nothing_across_and_counts_on() -> None:
    chain = Chain()
    chain.link(0, [(10, 10), (30, 30)])
    rows = chain.link(1, [(10, 10), (30, 30)], new_sequence=True)
    assert rows["particle"].tolist() == [2, 3]
    assert rows["age"].tolist() == [0, 0]
    assert chain.link(2, [(10, 10)])["particle"].tolist() == [2]


def test_the_state_never_grows_and_forgets_the_longest_lost_first() -> None:
    chain = Chain(search_range=1.0, memory=3, max_particles=20)
    rng = np.random.default_rng(0)
    for frame in range(40):
        chain.link(frame, [tuple(point) for point in rng.uniform(0, 1e6, (20, 2))])
        assert chain.statistics["sources"] <= chain.state.capacity
    assert chain.statistics["sources"] == chain.state.capacity
    assert chain.statistics["dropped"] == 0
    assert chain.statistics["next_particle"] == 800
    assert chain.statistics["frames"] == 40


def test_more_rows_than_there_may_be_are_refused() -> None:
    with pytest.raises(ValueError, match="room for 3"):
        Chain(max_particles=3).link(0, [(0, 0)] * 4)


def test_a_buffer_too_small_is_refused() -> None:
    state = LinkState(5, 1, 10)
    with pytest.raises(ValueError, match="are needed"):
        state.statistics(np.zeros(10, np.uint8))


def test_searches_are_counted() -> None:
    chain = Chain()
    chain.link(0, [(0, 0), (1, 0), (2, 0)])
    chain.link(1, [(0.9, 0), (1.1, 0)])
    assert chain.statistics["searched"] > 0
    assert chain.statistics["longest_search"] == chain.statistics["searched"]
    assert chain.statistics["unsearched"] == 0


def test_a_search_that_would_never_end_takes_the_nearest_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.workers.link_state.BUDGET", 0)
    chain = Chain()
    chain.link(0, [(0, 0), (1, 0), (2, 0)])
    rows = chain.link(1, [(0.9, 0), (1.1, 0)])
    assert chain.statistics["unsearched"] > 0
    assert set(rows["particle"]) < {0, 1, 2}
    assert len(set(rows["particle"])) == 2
