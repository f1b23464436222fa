"""Every number between two frames comes out once, with the step that lost it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.accounting import LOSS, Cause, LostRange, Step, merged
from recorders.losses import Losses, Unexplained, pieces
from recorders.parts import Position


def ledger(*ranges: tuple[int, int]) -> np.ndarray:
    return np.array([(a, b, 0, 0, Step.CAMERA, Cause.CAMERA_SKIPPED) for a, b in ranges], LOSS)


def told(losses: np.ndarray) -> list[tuple[int, int, str]]:
    return [(int(r["first"]), int(r["last"]), Step(r["step"]).name.lower()) for r in losses]


CASES = [
    # name, next frame, frame, ledger, places overrun -> losses, unexplained
    ("nothing was lost", 5, 5, [], 0, [], []),
    ("the camera skipped five", 5, 10, [(5, 9)], 0, [(5, 9, "camera")], []),
    ("two stretches come in order", 5, 10, [(8, 9), (5, 7)], 0, [(5, 7, "camera"), (8, 9, "camera")], []),
    ("one told twice counts once", 5, 10, [(5, 9), (5, 9)], 0, [(5, 9, "camera")], []),
    ("what a dead recorder had already is not repeated", 5, 6, [(2, 5)], 0, [(5, 5, "camera")], []),
    ("this recorder was overrun", 5, 10, [], 5, [(5, 9, "recorder")], []),
    ("overrun around a camera gap", 5, 10, [(7, 7)], 4, [(5, 6, "recorder"), (7, 7, "camera"), (8, 9, "recorder")], []),
    ("nobody said why", 5, 10, [(6, 9)], 0, [(6, 9, "camera")], [Unexplained(5, 5)]),
    ("lost before the first frame", None, 2, [(0, 1)], 0, [(0, 1, "camera")], []),
    ("overrun before the first frame", None, 3, [], 3, [(0, 2, "recorder")], []),
]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_losses_before_a_frame(case: tuple) -> None:
    _, start, frame, ranges, missed, expected, unexplained = case
    losses, missing = Losses(Position(start, 0)).before(frame, 0, ledger(*ranges), missed, 0)
    assert told(losses) == expected
    assert missing == unexplained


@pytest.mark.parametrize(
    ("ranges", "missed", "expected"),
    [
        ([], 0, []),
        ([(5, 6)], 0, [(5, 6, "camera")]),
        ([], 3, [(5, 7, "recorder")]),
        ([(6, 7)], 2, [(5, 5, "recorder"), (6, 7, "camera"), (8, 8, "recorder")]),
    ],
)
def test_losses_at_the_end(ranges: list, missed: int, expected: list) -> None:
    assert told(Losses(Position(5, 0)).at_end(ledger(*ranges), missed, 0)) == expected


@given(
    st.integers(0, 40),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8),
    st.integers(0, 30),
    st.booleans(),
)
def test_each_number_ends_somewhere_exactly_once(start: int, ranges: list, ahead: int, overrun: bool) -> None:
    frame = start + ahead
    records = ledger(*[(first, first + more) for first, more in ranges])
    losses, missing = Losses(Position(start, 0)).before(frame, 0, records, int(overrun), 0)
    numbers = [n for r in losses for n in range(int(r["first"]), int(r["last"]) + 1)]
    numbers += [n for hole in missing for n in range(hole.first, hole.last + 1)]
    assert sorted(numbers) == list(range(start, frame))


def test_a_long_absence_is_handed_on_in_pieces_that_name_every_number_once() -> None:
    cut = [told(piece) for piece in pieces(ledger((0, 4), (10, 29), (30, 30)), 8)]
    assert cut == [
        [(0, 4, "camera"), (10, 12, "camera")],
        [(13, 20, "camera")],
        [(21, 28, "camera")],
        [(29, 29, "camera"), (30, 30, "camera")],
    ]
    assert list(pieces(ledger(), 8)) == []


def test_neighbours_of_one_step_and_cause_are_one_range_in_reports() -> None:
    one_by_one = [LostRange(n, n, "receiver", "ring full") for n in (3, 4, 5, 7)]
    other = [LostRange(8, 9, "receiver", "refused"), LostRange(10, 10, "camera", "refused")]
    assert merged([*one_by_one, *other]) == [
        LostRange(3, 5, "receiver", "ring full"), LostRange(7, 7, "receiver", "ring full"), *other,
    ]  # fmt: skip
