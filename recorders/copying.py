"""Copy a run to another disk, and prove it: SHA-256 sums of what was read, and of what is read back from there.

`SHA256SUMS` in the copy has the sums, in the format of `sha256sum -c`. A copy that was interrupted goes on: files that
are there with the right sum are not copied again. Nothing that exists is written over with other content.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.errors import MachineError, SettingsError

SUMS = "SHA256SUMS"
BLOCK = 4 << 20


class Copied(msgspec.Struct, frozen=True):
    """What was copied."""

    folder: str
    files: int
    bytes: int
    there_already: int  # of the files
    verified: bool


def copy(
    run: Path,
    destination: Path,
    *,
    verify: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Copied:
    """Copy a run's folder into the folder `destination`, as `destination/DAY/RUN`.

    With `verify` every copy is read back from the disk and compared. Raises SettingsError (no run, or other content is
    there), MachineError (the disk, or a copy that is not equal).
    """
    run = run.resolve()
    if not (run / "run.json").is_file():
        raise SettingsError(f"{run} is no folder of a run: it has no run.json")
    target = destination.resolve() / run.parent.name / run.name
    if target == run or run in target.parents:
        raise SettingsError(f"{destination}: the copy would lie in the run itself")
    paths = sorted(path for path in run.rglob("*") if path.is_file() and path.name != SUMS)
    total = sum(path.stat().st_size for path in paths) * (2 if verify else 1)
    tally = _Tally(progress, total)
    sums: dict[str, str] = {}
    already = 0
    try:
        for path in paths:
            name = path.relative_to(run)
            there = target / name
            if there.exists():
                sums[name.as_posix()] = _sum(path, tally)
                if _sum(there) != sums[name.as_posix()]:
                    raise SettingsError(f"{there} exists with other content, and is not written over")
                already += 1
            else:
                sums[name.as_posix()] = _copied(path, there, tally)
        if verify:
            for text, wanted in sums.items():
                if _sum(target / text, tally, fresh=True) != wanted:
                    raise MachineError(f"{target / text} is not what was written: the copy is bad. Is the disk?")
        lines = "".join(f"{wanted}  {text}\n" for text, wanted in sums.items())
        (target / SUMS).write_text(lines, encoding="utf-8")
    except OSError as error:
        raise MachineError(f"{error.filename or target}: {error.strerror or error}. The run is as it was") from None
    return Copied(str(target), len(paths), sum(path.stat().st_size for path in paths), already, verify)


class _Tally:
    def __init__(self, progress: Callable[[int, int], None], total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def add(self, count: int) -> None:
        self._done += count
        self._progress(self._done, self._total)


def _copied(path: Path, there: Path, tally: _Tally) -> str:
    """Copy a file beside its name, bring it to the disk, rename it; the sum of what was read."""
    there.parent.mkdir(parents=True, exist_ok=True)
    beside = there.with_name(there.name + ".part")
    digest = hashlib.sha256()
    with path.open("rb") as source, beside.open("wb") as out:
        while block := source.read(BLOCK):
            digest.update(block)
            out.write(block)
            tally.add(len(block))
        out.flush()
        os.fsync(out.fileno())
    stat = path.stat()
    os.utime(beside, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    beside.replace(there)
    return digest.hexdigest()


def _sum(path: Path, tally: _Tally | None = None, fresh: bool = False) -> str:
    """SHA-256 of a file; `fresh`: from the disk, not from memory, where the system lets us ask for that."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if fresh and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while block := file.read(BLOCK):
            digest.update(block)
            if tally is not None:
                tally.add(len(block))
    return digest.hexdigest()
