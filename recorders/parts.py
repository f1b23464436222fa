"""The parts of a run's recording, read back.

A recorder that died is followed by one that writes the next *part*. It goes on at the frame after which nothing is
certain to be whole, so parts overlap: **the later part is right from its first frame number on**. A *whole* frame of
a part is one whose rows are all there; a file that was not closed in order may end in rows that are not (`frame` is
-1, or rows belong to no frame), which are cut off on reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
from numpy.lib import recfunctions as rfn

from engine.errors import RingtrackError
from recorders import h5clear
from recorders.metadata import FORMAT
from recorders.tables import FRAMES, LOST, Table, were_written

BLOCK_ROWS = 1 << 18
BLOCK_FRAMES = 1 << 16
TAIL_ROWS = 4096
KEPT = ("frame", "rows", "first_row")
_PART = re.compile(r"\.part(\d{3,})$")


class RunError(RingtrackError):
    """What was named is no run, or its files are not what this version can read."""

    exit_status = 2


@dataclass(frozen=True)
class Part:
    """What counts of one file: its first `frames` rows of `/frames` and `tracks` rows of `/tracks`."""

    path: Path
    table: Table  # of these rows of /frames: frame, first_row, rows (a day of them fits into memory)
    tracks: int
    torn: int  # rows of /frames cut off because they were not whole

    @property
    def end(self) -> int:
        """The frame number after the last one, -1 if there is none."""
        return int(self.table["frame"][-1]) + 1 if len(self.table) else -1


def part_path(first: Path, part: int) -> Path:
    """The file of a part: `tracking_run_001.h5`, `tracking_run_001.part002.h5`, …"""
    return first if part == 1 else first.with_name(f"{first.stem}.part{part:03d}{first.suffix}")


def part_paths(first: Path) -> dict[int, Path]:
    """The files of a run's recording that exist, by part."""
    out = {1: first} if first.exists() else {}
    for path in first.parent.glob(f"{first.stem}.part*{first.suffix}"):
        if match := _PART.search(path.stem):
            out[int(match[1])] = path
    return dict(sorted(out.items()))


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a part for reading: finished, being written, or left by a writer that died.

    The mark of a dead writer is taken away on the way, so that other programs can open the file too; where that may
    not be done (a folder that cannot be written) the file is read all the same.
    """
    with suppress(OSError, h5clear.NotClearedError):
        h5clear.clear(path)
    marked = False
    with suppress(OSError, h5clear.NotClearedError):
        marked = h5clear.is_marked(path)
    try:
        file = h5py.File(path, "r", swmr=marked)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error}") from None
    with file:
        version = int(file.attrs.get("ringtrack_format", 0))
        if not 1 <= version <= FORMAT:
            raise RunError(
                f"{path} is no recording of ringtrack"
                if version == 0
                else f"{path} has layout {version}; this version of ringtrack reads up to {FORMAT}"
            )
        yield file


def read_parts(first: Path) -> list[Part]:
    """The parts of a recording, each cut to what counts: whole, and not done again by a later part."""
    parts: list[Part] = []
    joined = 0
    for number, path in part_paths(first).items():
        with opened(path) as file:
            if number <= joined:
                continue  # It was taken into the first file; only its deletion is missing.
            joined = int(file.attrs["parts"]) if number == 1 else joined
            part = _whole(path, file)
        if len(part.table):
            start = int(part.table["frame"][0])
            parts = [cut for cut in (_before(earlier, start) for earlier in parts) if len(cut.table)]
            parts.append(part)
    return parts


def read_rows(file: h5py.File, name: str, count: int, step: int = BLOCK_ROWS) -> Iterator[Table]:
    """The first `count` rows of a table, in blocks."""
    for start in range(0, count, step):
        yield file[name][start : min(start + step, count)]


def frame_blocks(parts: list[Part], columns: tuple[str, ...] | None = None) -> Iterator[Table]:
    """`/frames` of all parts as one, in blocks; `first_row` is counted in the joined `/tracks`.

    `columns`: only these, in their order in the file.
    """
    rows = 0
    for part in parts:
        with opened(part.path) as file:
            for block in read_rows(file, "frames", len(part.table), BLOCK_FRAMES):
                if columns is None or "first_row" in columns:
                    block["first_row"] += rows
                yield block if columns is None else rfn.repack_fields(block[list(columns)])
        rows += part.tracks


def owned_blocks(table: Table, tracks: h5py.Dataset, total: int) -> Iterator[tuple[int, Table, npt.NDArray[np.int64]]]:
    """Blocks of the first `total` rows of `/tracks`: their start, the rows, and the frame number that each is owned by.

    `table` says so: a part's frames with their `rows`. Never the rows of a whole day at once.
    """
    ends, frames = np.cumsum(table["rows"], dtype=np.int64), np.ascontiguousarray(table["frame"])
    for start in range(0, total, BLOCK_ROWS):
        block = tracks[start : min(start + BLOCK_ROWS, total)]
        owners = np.searchsorted(ends, [start, start + len(block) - 1], side="right")
        among = slice(int(owners[0]), int(owners[1]) + 1)
        places = np.searchsorted(ends[among], np.arange(start, start + len(block)), side="right")
        yield start, block, frames[among][places]


def _whole(path: Path, file: h5py.File) -> Part:
    # Lengths first of all: while the file grows, /tracks is ahead of /frames, never behind.
    count, tracks = file["frames"].shape[0], file["tracks"].shape[0]
    blocks = [rfn.repack_fields(block[list(KEPT)]) for block in read_rows(file, "frames", count, BLOCK_FRAMES)]
    frames: Table = np.concatenate([np.zeros(0, FRAMES)[list(KEPT)], *blocks])
    good = len(frames)
    if not int(file["metadata/processing_metrics"].attrs["complete"]):
        good = _good_frames(frames, file["tracks"])
    kept = frames[:good]
    rows = int(kept["first_row"][-1] + kept["rows"][-1]) if good else 0
    if rows > tracks:
        raise RunError(f"{path} is damaged: /frames tells of {rows} rows, /tracks has {tracks}")
    return Part(path, kept, rows, len(frames) - good)


def _good_frames(frames: Table, tracks: h5py.Dataset) -> int:
    """How many frames from the start on are whole."""
    # Numbers grow and rows follow each other; what a full disk did not take reads as -1 or as 0.
    counted = np.cumsum(frames["rows"], dtype=np.int64)
    jumps = np.diff(frames["frame"], prepend=-1) <= 0
    bad = np.flatnonzero((frames["frame"] < 0) | jumps | (frames["first_row"] != counted - frames["rows"]))
    good = int(bad[0]) if len(bad) else len(frames)
    ends = counted[:good]
    good = int(np.searchsorted(ends, tracks.shape[0], side="right"))
    for start, block, owners in owned_blocks(frames[:good], tracks, int(ends[good - 1]) if good else 0):
        wrong = np.flatnonzero(block["frame"] != owners)
        if len(wrong):
            return int(np.searchsorted(ends, start + int(wrong[0]), side="right"))
    return good


def _before(part: Part, frame: int) -> Part:
    count = int(np.searchsorted(part.table["frame"], frame))
    if count == len(part.table):
        return part
    return Part(part.path, part.table[:count], int(part.table["first_row"][count]), part.torn)


@dataclass(frozen=True)
class Position:
    """How far a recording had come: the next frame number, and the losses noticed until then."""

    next_frame: int | None
    ledger: int


def position_before(first: Path, frame: int, part: int) -> Position:
    """Where the recorder of `part` goes on that has been given `frame` again: after what earlier parts hold."""
    earlier = [path for number, path in part_paths(first).items() if number < part]
    for path in reversed(earlier):
        with opened(path) as file:
            table = file["frames"]
            for end in range(table.shape[0], 0, -TAIL_ROWS):
                block: Table = table[max(0, end - TAIL_ROWS) : end]
                kept = block[were_written(block) & (block["frame"] < frame) & (block["state_code"] != LOST)]
                if len(kept):
                    return Position(int(kept["frame"][-1]) + 1, int(kept["ledger"][-1]))
    return Position(None, 0)
