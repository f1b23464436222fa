"""Which frame numbers between two recorded frames were lost, where and why.

Losses before the trackers are in the run's ledger; what this recorder was too slow for is every number that is left
between the frame before and the frame after. Each number comes out once, in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.accounting import LOSS, Cause, Step
from recorders.parts import Position
from recorders.tables import Table


@dataclass(frozen=True)
class Unexplained:
    """Numbers that are missing though nobody said so: a fault of ours, to be told and not hidden."""

    first: int
    last: int


class Losses:
    """Keeps count of the next frame number and of the ledger's records that were used."""

    def __init__(self, position: Position) -> None:
        self.next_frame = position.next_frame
        self.ledger = position.ledger
        self._sequence = 0

    def before(
        self, frame: int, sequence: int, records: Table, missed_places: int, t_ns: int
    ) -> tuple[Table, list[Unexplained]]:
        """The losses (LOSS records) since the frame before, and what is left unexplained; then `frame` is the last.

        `records`: the ledger's, since the frame before. `missed_places`: places of the ring that were overrun.
        """
        start = self.next_frame
        if start is None:
            start = 0 if missed_places else min([frame, *records["first"].tolist()])
        holes, known = _without(start, frame - 1, records)
        unexplained: list[Unexplained] = []
        if missed_places:
            known.extend(self._overrun(holes, t_ns))
        else:
            unexplained = [Unexplained(*hole) for hole in holes]
        self.next_frame = frame + 1
        self._sequence = sequence
        return _table(known), unexplained

    def at_end(self, records: Table, missed_places: int, t_ns: int) -> Table:
        """The losses after the last frame: the rest of the ledger, and places overrun up to the end of the run."""
        start = self.next_frame if self.next_frame is not None else min([0, *records["first"].tolist()])
        last = max([start - 1, *records["last"].tolist()])
        holes, known = _without(start, last, records)
        taken: list[tuple[int, int]] = []
        for first, end in [*holes, (last + 1, last + missed_places)]:
            count = min(missed_places, end - first + 1)
            if count > 0:
                taken.append((first, first + count - 1))
                missed_places -= count
        known.extend(self._overrun(taken, t_ns))
        return _table(known)

    def _overrun(self, holes: list[tuple[int, int]], t_ns: int) -> list[tuple[int, ...]]:
        return [(first, last, self._sequence, t_ns, Step.RECORDER, Cause.OVERRUN) for first, last in holes]


def pieces(losses: Table, most: int) -> Iterator[Table]:
    """The same losses, in pieces that name at most so many numbers each: a sender may have been away for days."""
    piece: list[np.void] = []
    room = most
    for loss in losses:
        first, last = int(loss["first"]), int(loss["last"])
        while first <= last:
            part = loss.copy()
            part["first"], part["last"] = first, min(last, first + room - 1)
            piece.append(part)
            room -= int(part["last"]) - first + 1
            first = int(part["last"]) + 1
            if not room:
                yield np.array(piece, losses.dtype)
                piece, room = [], most
    if piece:
        yield np.array(piece, losses.dtype)


def _without(start: int, last: int, records: Table) -> tuple[list[tuple[int, int]], list[tuple[int, ...]]]:
    """The numbers from `start` to `last` that no record names, and the records, cut to that stretch and disjoint."""
    holes: list[tuple[int, int]] = []
    known: list[tuple[int, ...]] = []
    for record in np.sort(records, order=["first", "last"]):
        first, end = max(start, int(record["first"])), min(last, int(record["last"]))
        if end < first:
            continue
        if first > start:
            holes.append((start, first - 1))
        known.append((first, end, *(int(record[name]) for name in ("sequence", "t_ns", "step", "cause"))))
        start = end + 1
    if start <= last:
        holes.append((start, last))
    return holes, known


def _table(losses: list[tuple[int, ...]]) -> Table:
    return np.array(sorted(losses), LOSS)
