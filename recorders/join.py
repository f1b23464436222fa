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
from recorders.parts import Part, opened, part_paths, read_parts, read_rows
from recorders.tables import LOST, NO_CODE, PAUSED, RANGES, TABLES, Table, account, once, unwritten

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
        _write(beside, parts, max(paths))
        beside.replace(first)
        _sync_folder(first.parent)
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


def _write(path: Path, parts: list[Part], last: int) -> None:
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
            for name in ("tracks", "frames"):
                out.create_dataset(f"index/{name}", shape=(0, 2), maxshape=(None, 2), chunks=(1024, 2), dtype="<i8")
        with opened(parts[-1].path) as source:
            for name in ("streams", "slm"):
                if name in source:
                    source.copy(name, out)
        out.attrs["part"], out.attrs["parts"] = 1, last
        frames = joined_frames(parts)
        append(out["frames"], frames)
        for part, next_start in zip(parts, [*(int(p.table["frame"][0]) for p in parts[1:]), None]):
            with opened(part.path) as source:
                for block in read_rows(source, "tracks", part.tracks):
                    append(out["tracks"], block)
                for name in ("events", "extra"):
                    for block in read_rows(source, name, source[name].shape[0]):
                        kept = block[TABLES[name].names[0]] >= 0  # type: ignore[index]
                        if next_start is not None:
                            kept &= block["frame"] < next_start
                        append(out[name], block[kept])
        events = once(out["events"][...])
        out["events"].resize((len(events),))
        out["events"][...] = events
        append(out["accounting/lost"], lost_ranges(parts))
        out["accounting/steps"][...] = accounting(frames)
        _write_metrics(out, parts, frames)
        write_index(out)
        out.flush()
    with path.open("rb") as written:
        os.fsync(written.fileno())


def joined_frames(parts: list[Part]) -> Table:
    """`/frames` of all parts as one, `first_row` counted in the joined `/tracks`."""
    tables, rows = [], 0
    for part in parts:
        table = part.table.copy()
        table["first_row"] += rows
        rows += part.tracks
        tables.append(table)
    return np.concatenate(tables)


def accounting(frames: Table) -> Table:
    """`/accounting/steps` counted from `/frames`."""
    lost = frames[frames["step_code"] != NO_CODE]
    return account(len(frames), Counter(lost["step_code"].tolist()))


def lost_ranges(parts: list[Part]) -> Table:
    """`/accounting/lost` of all parts, cut where a later part begins and where a part was torn."""
    out = []
    for part in parts:
        with opened(part.path) as file:
            ranges: Table = file["accounting/lost"][...]
        ranges = ranges[(ranges["first"] >= 0) & (ranges["first"] < part.end)]
        ranges["last"] = np.minimum(ranges["last"], part.end - 1)
        out.append(ranges)
    return np.concatenate(out) if out else np.zeros(0, RANGES)


def _write_metrics(out: h5py.File, parts: list[Part], frames: Table) -> None:
    arrived = frames[frames["state_code"] != LOST]
    latency_ms = (arrived["t_published_ns"] - arrived["t_received_ns"]) / 1e6
    attributes = out["metadata/processing_metrics"].attrs
    paused = int((arrived["state_code"] == PAUSED).sum())
    attributes["frames_recorded"] = len(arrived) - paused
    attributes["frames_paused"] = paused
    attributes["frames_lost"] = int((frames["step_code"] != NO_CODE).sum())
    attributes["rows"] = sum(part.tracks for part in parts)
    attributes["first_frame"], attributes["last_frame"] = int(frames["frame"][0]), int(frames["frame"][-1])
    attributes["latency_mean_ms"] = float(latency_ms.mean()) if len(latency_ms) else 0.0
    attributes["latency_max_ms"] = float(latency_ms.max()) if len(latency_ms) else 0.0
    with opened(parts[-1].path) as last:
        attributes["complete"] = last["metadata/processing_metrics"].attrs["complete"]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
