"""Make the files of a run whole that was killed, or whose parts stayed apart: `ringtrack inspect RUN --repair`.

Only the mark "open for write" is taken away in place (`recorders.h5clear`, five bytes). All else is written into a new
file beside the tables' one, read back, and renamed over it: whole frames are copied as they are, the torn end of each
part is left out, `/particles`, `/index`, the accounting and the link to the images are made anew. Killed or out of
disk at any moment, the files are as they were. Camera frames are never written again: what is behind the last whole one
is not shown.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np

from engine.errors import MachineError
from recorders import h5clear
from recorders.crop_parts import link_crops_into, linked_crops
from recorders.hdf5file import index_of
from recorders.join import ROOM, replace, write_joined
from recorders.particles import NAME, particles_of
from recorders.parts import Part, RunError, opened, owned_blocks, part_paths, read_parts, read_rows
from recorders.pictures import link_into, linked_frames
from recorders.run import Run
from recorders.runfolder import RunFolder, of_same_run
from recorders.slm import write_slm
from recorders.streams import write_streams
from recorders.tiff_ome import finish


@dataclass(frozen=True)
class Repaired:
    """What was found and done; `done` is empty if all was whole."""

    path: Path
    done: list[str]


def repair(first: Path) -> Repaired:
    """Make the recording that begins with the file `first` whole.

    Raises RunError if it is being recorded or cannot be read, MachineError if there is no room or the folder cannot be
    written; then nothing has changed but the mark.
    """
    images, crops = (of_same_run(first, kind) for kind in ("images", "crops"))
    files = [path for one in (first, images, crops) for path in part_paths(one).values()]
    for path in files:
        if h5clear.is_held(path):
            raise RunError(f"{path} is being written, or read by another program: repair it when that has ended")
    try:
        done = [f"{path.name}: its mark of a dead writer was taken away" for path in files if h5clear.clear(path)]
        stack = RunFolder(first.parent).tiff_stack
        if stack.exists() and finish(stack, first.parent.name, _pixel_um(first)):
            done.append(f"{stack.name} was closed: it is an OME-TIFF now")
        paths, parts = part_paths(first), read_parts(first)
        found = _wrong(first, images, crops, parts) if parts else []
        if found:
            _write_anew(first, images, crops, parts, paths)
            done += found
    except h5clear.NotClearedError as error:
        raise RunError(str(error)) from None
    except OSError as error:
        raise MachineError(f"{first.parent} cannot be written: {error}. The recording is as it was.") from None
    return Repaired(first, done)


def _pixel_um(first: Path) -> float:
    return Run.open(first).settings.camera.pixel_um


def _wrong(first: Path, images: Path, crops: Path, parts: list[Part]) -> list[str]:
    """What has to be made anew, in words."""
    found = []
    paths = part_paths(first)
    if len(paths) > 1 or paths != {1: first}:
        found.append(f"{len(paths)} parts were joined into one")
    if torn := sum(part.torn for part in parts):
        found.append(f"{torn} frames at the end that had not reached the disk whole were cut off")
    if found:
        return found
    with opened(first) as file:
        if not int(file["metadata/processing_metrics"].attrs["complete"]):
            found.append("it had not been closed in order, and is now")
        if NAME not in file or not _same(file[NAME][...], particles_of(read_rows(file, "tracks", parts[0].tracks))):
            found.append("/particles was made anew")
        if any(not _same(file[f"index/{name}"][...], index_of(file[name])) for name in ("tracks", "frames")):
            found.append("/index was made anew")
        if linked_frames(images) != (file["images"].shape[0] if "images" in file else 0):
            found.append("the link to the images was made anew")
        if linked_crops(crops) != (file["crops"].shape[0] if "crops" in file else 0):
            found.append("the link to the crops was made anew")
    return found


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


def _write_anew(first: Path, images: Path, crops: Path, parts: list[Part], paths: dict[int, Path]) -> None:
    wanted = int(sum(path.stat().st_size for path in paths.values()) * ROOM)
    free = shutil.disk_usage(first.parent).free
    if free < wanted:
        raise MachineError(
            f"{first.parent} has {free / 2**30:.1f} GiB free; the file is written anew beside the old one, which wants "
            f"{wanted / 2**30:.1f}. Make room, or copy the run to another disk and repair it there."
        )
    beside = first.with_name(first.name + ".repairing")
    beside.unlink(missing_ok=True)
    try:
        write_joined(beside, parts, max(paths))
        with h5py.File(beside, "r+", libver=("v110", "v110")) as file:
            if "streams" not in file:
                write_streams(file, first.parent)
            if "slm" not in file:
                write_slm(file, first.parent)
            link_into(file, images)
            link_crops_into(file, crops)
            file["metadata/processing_metrics"].attrs["complete"] = 1
            file.attrs["repaired_utc"] = datetime.now(UTC).isoformat(timespec="seconds")
        _read_back(beside, parts)
        replace(beside, first)
    finally:
        beside.unlink(missing_ok=True)
    for number, path in paths.items():
        if number > 1:
            path.unlink(missing_ok=True)


def _read_back(beside: Path, parts: list[Part]) -> None:
    """Every row of the new file is that of the parts, before anything old goes."""
    with opened(beside) as file:
        at = 0
        for part in parts:
            with opened(part.path) as old:
                for start, block, owners in owned_blocks(part.table, old["tracks"], part.tracks):
                    new = file["tracks"][at + start : at + start + len(block)]
                    if not _same(new, block) or (new["frame"] != owners).any():
                        raise OSError(f"rows from {at + start} on of the new /tracks are not {part.path.name}'s")
            at += part.tracks
        if file["tracks"].shape[0] != at or file["frames"].shape[0] != sum(len(part.table) for part in parts):
            raise OSError("the new tables have another length than the parts")
