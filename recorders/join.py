"""Join the parts of a recording into the one file, at the end of an orderly run.

The joined file is written beside the parts, made safe on the disk, and renamed over the first part; then the others
are deleted. Killed at any moment, either the parts count (the unfinished file is never looked at) or the joined file
says how many parts are in it, and what is left of them is ignored.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from recorders.hdf5file import append, write_index
from recorders.naming import settle
from recorders.particles import Particles, make_particles, write_particles
from recorders.parts import Part, frame_blocks, opened, part_paths, read_parts, read_rows
from recorders.tables import (
    FRAMES,
    LOST,
    NO_CODE,
    PAUSED,
    RANGES,
    TABLES,
    Table,
    account,
    once,
    unwritten,
    were_written,
)

ROOM = 1.05
"""Free disk space that is wanted, in sizes of the joined file."""


@dataclass(frozen=True)
class Joined:
    """What `join` did. `message` is for the user; empty if there was nothing to join."""

    path: Path
    parts: int
    joined: bool
    message: str


def join(first: Path) -> Joined:
    """Join the parts of the recording that begins with the file `first`.

    Called when no recorder writes any more (supervisor, `inspect`). Without the room the parts stay, and are read as
    one by `recorders.Run`. Raises RunError if a part cannot be read.
    """
    paths = part_paths(first)
    beside = first.with_name(first.name + ".joining")
    beside.unlink(missing_ok=True)
    if len(paths) < 2:
        return Joined(first, len(paths), False, "")
    parts = read_parts(first)
    if parts and not _holds(first, max(paths)) and not _is_all(first, parts):
        wanted = int(sum(path.stat().st_size for path in paths.values()) * ROOM)
        free = shutil.disk_usage(first.parent).free
        if free < wanted:
            return Joined(
                first,
                len(paths),
                False,
                f"{first.name} stays in {len(paths)} parts: joining them wants {wanted / 2**30:.1f} GiB free on "
                f"{first.parent}, there are {free / 2**30:.1f}. recorders.Run reads them as one.",
            )
        write_joined(beside, parts, max(paths))
        replace(beside, first)
    for number, path in paths.items():
        if number > 1:
            path.unlink(missing_ok=True)
    return Joined(first, len(paths), True, f"{first.name}: {len(paths)} parts joined into one")


def _holds(first: Path, part: int) -> bool:
    """Whether the first file was joined before and has this part in it: only the deletion is missing."""
    with opened(first) as file:
        return int(file.attrs["parts"]) >= part


def _is_all(first: Path, parts: list[Part]) -> bool:
    """Whether all that counts is the first file, whole: its successors recorded nothing."""
    if [part.path for part in parts] != [first]:
        return False
    with opened(first) as file:
        complete = bool(file["metadata/processing_metrics"].attrs["complete"])
        return complete and len(parts[0].table) == file["frames"].shape[0]


def write_joined(path: Path, parts: list[Part], last: int) -> None:
    """Write what counts of the parts into one new file; `last` is the number of the last part that there is."""
    with h5py.File(path, "w", libver=("v110", "v110")) as out:
        with opened(parts[0].path) as source:
            for name, value in source.attrs.items():
                out.attrs[name] = value
            source.copy("metadata", out)
            source.copy("accounting/steps", out, "accounting/steps")
            for name, dtype in TABLES.items():
                like = source[name]
                out.create_dataset(
                    name, shape=(0,), maxshape=(None,), chunks=like.chunks, dtype=dtype, fillvalue=unwritten(dtype)
                )
            make_particles(out)
            for name in ("tracks", "frames"):
                out.create_dataset(f"index/{name}", shape=(0, 2), maxshape=(None, 2), chunks=(1024, 2), dtype="<i8")
        with opened(parts[-1].path) as source:
            for name in ("streams", "slm"):
                if name in source:
                    source.copy(name, out)
        out.attrs["part"], out.attrs["parts"] = 1, last
        counted = Counted()
        for frames in frame_blocks(parts):
            append(out["frames"], frames)
            counted.add(frames)
        particles = Particles()
        for part, next_start in zip(parts, [*(int(p.table["frame"][0]) for p in parts[1:]), None]):
            with opened(part.path) as source:
                for block in read_rows(source, "tracks", part.tracks):
                    append(out["tracks"], block)
                    particles.add(block)
                for name in ("events", "extra"):
                    for block in read_rows(source, name, source[name].shape[0]):
                        kept = were_written(block) & (block["json"] != b"")
                        if next_start is not None:
                            kept &= block["frame"] < next_start
                        append(out[name], block[kept])
        events = once(out["events"][...])
        out["events"].resize((len(events),))
        out["events"][...] = events
        append(out["accounting/lost"], lost_ranges(parts))
        out["accounting/steps"][...] = counted.steps()
        _write_metrics(out, parts, counted)
        write_particles(out, particles.table())
        write_index(out)


class Counted:
    """What is counted of `/frames`, a block after the other."""

    def __init__(self) -> None:
        self.frames = self.arrived = self.paused = 0
        self.ends = (-1, -1)  # first and last number
        self.latency_ms = (0.0, 0.0)  # sum, largest
        self._lost: Counter[int] = Counter()

    def add(self, frames: Table) -> None:
        if not len(frames):
            return
        self.ends = (int(frames["frame"][0]) if self.ends[0] < 0 else self.ends[0], int(frames["frame"][-1]))
        self.frames += len(frames)
        self._lost.update(frames["step_code"][frames["step_code"] != NO_CODE].tolist())
        arrived = frames[frames["state_code"] != LOST]
        if len(arrived):
            self.arrived += len(arrived)
            self.paused += int((arrived["state_code"] == PAUSED).sum())
            latency_ms = (arrived["t_published_ns"] - arrived["t_received_ns"]) / 1e6
            self.latency_ms = (
                self.latency_ms[0] + float(latency_ms.sum()),
                max(self.latency_ms[1], float(latency_ms.max())),
            )

    @property
    def lost(self) -> int:
        return sum(self._lost.values())

    def steps(self) -> Table:
        """`/accounting/steps`."""
        return account(self.frames, self._lost)


def joined_frames(parts: list[Part]) -> Table:
    """`/frames` of all parts as one table, in memory; `first_row` counted in the joined `/tracks`."""
    return np.concatenate([np.zeros(0, FRAMES), *frame_blocks(parts)])


def accounting(frames: Table) -> Table:
    """`/accounting/steps` counted from `/frames`."""
    counted = Counted()
    counted.add(frames)
    return counted.steps()


def lost_ranges(parts: list[Part]) -> Table:
    """`/accounting/lost` of all parts, cut where a later part begins and where a part was torn."""
    out = []
    for part in parts:
        with opened(part.path) as file:
            ranges: Table = file["accounting/lost"][...]
        ranges = ranges[were_written(ranges) & (ranges["first"] < part.end)]
        ranges["last"] = np.minimum(ranges["last"], part.end - 1)
        out.append(ranges)
    return np.concatenate(out) if out else np.zeros(0, RANGES)


def _write_metrics(out: h5py.File, parts: list[Part], counted: Counted) -> None:
    attributes = out["metadata/processing_metrics"].attrs
    attributes["frames_recorded"] = counted.arrived - counted.paused
    attributes["frames_paused"] = counted.paused
    attributes["frames_lost"] = counted.lost
    attributes["rows"] = sum(part.tracks for part in parts)
    attributes["first_frame"], attributes["last_frame"] = counted.ends
    attributes["latency_mean_ms"] = counted.latency_ms[0] / max(counted.arrived, 1)
    attributes["latency_max_ms"] = counted.latency_ms[1]
    with opened(parts[-1].path) as last:
        attributes["complete"] = last["metadata/processing_metrics"].attrs["complete"]


def replace(beside: Path, first: Path) -> None:
    """Give a file that was written beside its name, after it is safe on the disk."""
    with beside.open("rb") as written:
        os.fsync(written.fileno())
    beside.replace(first)
    settle(first.parent)
