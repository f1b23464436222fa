"""Rows of `/tracks` in blocks, for a range of frames: what works on recordings of any length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recorders.parts import opened
from recorders.run import Run
from recorders.tables import Table

BLOCK_ROWS = 1 << 17


def track_blocks(
    run: Run, first: int | None = None, last: int | None = None, rows: int = BLOCK_ROWS
) -> Iterator[Table]:
    """Rows of the frames `first` to `last` (both included; None: all), in order, at most `rows` at a time."""
    for part in run.parts:
        table = part.table
        if not len(table):
            continue
        start = 0 if first is None else int(np.searchsorted(table["frame"], first))
        end = len(table) if last is None else int(np.searchsorted(table["frame"], last, side="right"))
        if start >= end:
            continue
        row = int(table["first_row"][start])
        stop = part.tracks if end == len(table) else int(table["first_row"][end])
        with opened(part.path) as file:
            for at in range(row, stop, rows):
                yield file["tracks"][at : min(at + rows, stop)]


def count_rows(run: Run, first: int | None = None, last: int | None = None) -> int:
    """How many rows `track_blocks` gives."""
    total = 0
    for part in run.parts:
        frames = part.table["frame"]
        wanted = np.ones(len(frames), bool)
        if first is not None:
            wanted &= frames >= first
        if last is not None:
            wanted &= frames <= last
        total += int(part.table["rows"][wanted].sum())
    return total
