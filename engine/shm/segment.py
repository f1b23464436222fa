"""A segment: one named piece of shared memory, owned by one process, mapped by many.

The *owner* makes it, holds a `flock` on its file for life, and removes it. The kernel drops the lock at any death, so a
segment whose lock can be had is *stale* and `sweep` removes it. Everybody else attaches by name. Nothing is registered
with Python's resource tracker; the segments are ordinary POSIX shared memory all the same, and
`multiprocessing.shared_memory.SharedMemory(name)` opens them. Before Python 3.13 the tracker of a stranger who looked
that way removes the *name* when he exits, and nothing can forbid it. So each segment has two names (hard links): the
public one, and the *kept* one by which our own processes attach. `keep_name` puts the public one back.

Room is reserved before it is used (`posix_fallocate`): a full /dev/shm is an error here, not a SIGBUS later.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.shm.atomics import Words, load, store

FOLDER = Path("/dev/shm")
PREFIX = os.environ.get("RINGTRACK_SEGMENTS", "ringtrack") + "_"
"""How all names begin. Whoever sets another one has segments of their own, which no other start sweeps."""
KEPT = ".kept"
"""Ending of the second name of a segment, which no stranger knows."""
MAGIC = int.from_bytes(b"RINGTRK\x01", "little")
LAYOUT = 2
"""Version of everything that lies in segments; raised at any change."""

HEADER = np.dtype(
    [
        ("magic", "<i8"),  # written last: a segment without it is not ready
        ("layout", "<i8"),  # LAYOUT
        ("size", "<i8"),  # bytes, header included
        ("owner_pid", "<i8"),
        ("created_utc_ns", "<i8"),
        ("run_id", "S16"),  # 16 hexadecimal digits: nobody mistakes a new ring for the old one
        ("kind", "S16"),  # "frames", "results", ...
    ]
)
HEADER_BYTES = 4096
_MADV_POPULATE_READ, _MADV_POPULATE_WRITE = 22, 23


class SegmentError(Exception):
    """A segment cannot be made or attached; the message says which and why."""


class NoRoomError(SegmentError):
    """/dev/shm has no room for it."""


def name_of(run_id: str, kind: str) -> str:
    """The public name of a run's segment in /dev/shm."""
    return f"{PREFIX}{run_id}_{kind}"


def aligned(size: int, to: int = 64) -> int:
    """`size` rounded up to a multiple of `to`."""
    return -(-size // to) * to


class Memory(Protocol):
    """What rings, ledgers and blocks lie in: a segment. Tests put them into ordinary bytes."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def owner(self) -> bool:
        """Whether what lies in it is laid out anew: the one who made it does that."""

    def words(self, offset: int, count: int) -> Words:
        """As `Segment.words`."""

    def array(self, offset: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """As `Segment.array`."""


class Segment:
    """A mapped segment. Use as a context manager; views stay valid as long as somebody holds them."""

    def __init__(self, name: str, fd: int, mapping: mmap.mmap, owner: bool) -> None:
        self.name = name
        self.size = len(mapping)
        self.owner = owner
        self._fd = fd
        self._map = mapping

    @classmethod
    def create(cls, run_id: str, kind: str, payload_bytes: int) -> Segment:
        """Make the segment, hold it for life, and map it with every page in place and zero.

        Raises `NoRoomError` if /dev/shm cannot hold it, `SegmentError` if the name is taken by a living owner.
        """
        name = name_of(run_id, kind)
        size = aligned(HEADER_BYTES + payload_bytes, mmap.PAGESIZE)
        fd = _claim_name(name)
        try:
            _reserve(fd, name, size)
            mapping = mmap.mmap(fd, size)
            _populate(mapping, _MADV_POPULATE_WRITE)
        except BaseException:
            _remove_names(name)
            os.close(fd)
            raise
        segment = cls(name, fd, mapping, owner=True)
        header = segment._header()
        header["layout"] = LAYOUT
        header["size"] = size
        header["owner_pid"] = os.getpid()
        header["created_utc_ns"] = time.time_ns()
        header["run_id"] = run_id.encode()
        header["kind"] = kind.encode()
        store(segment._header_words(), 0, MAGIC)
        return segment

    @classmethod
    def attach(cls, run_id: str, kind: str, populate: str = "") -> Segment:
        """Map the segment of a run. `populate`: "read" or "write" maps every page now rather than at first touch.

        Raises `SegmentError` if there is none, or if it is of another version of this program.
        """
        name = name_of(run_id, kind)
        try:
            fd = os.open(FOLDER / (name + KEPT), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise SegmentError(f"{name}: there is no such segment; the run {run_id} has ended") from None
        try:
            if os.fstat(fd).st_size < HEADER_BYTES:
                raise SegmentError(f"{name}: not a ringtrack segment, or not ready yet")
            mapping = mmap.mmap(fd, 0)
        except BaseException:
            os.close(fd)
            raise
        segment = cls(name, fd, mapping, owner=False)
        try:
            segment._check()
            if populate:
                _populate(mapping, _MADV_POPULATE_WRITE if populate == "write" else _MADV_POPULATE_READ)
        except BaseException:
            segment.close()
            raise
        return segment

    @property
    def run_id(self) -> str:
        return bytes(self._header()["run_id"]).decode()

    @property
    def owner_pid(self) -> int:
        return int(self._header()["owner_pid"])

    def words(self, offset: int, count: int) -> Words:
        """`count` words from that byte of the payload on; `offset` is a multiple of 8."""
        return np.frombuffer(self._map, np.int64, count, HEADER_BYTES + offset)

    def array(self, offset: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """A writable array over the payload from that byte on."""
        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self._map, kind, count, HEADER_BYTES + offset).reshape(shape)

    def keep_name(self) -> bool:
        """Put the public name back if a stranger's exit removed it (owner, now and then); whether it was gone."""
        try:
            (FOLDER / self.name).hardlink_to(FOLDER / (self.name + KEPT))
        except OSError:  # it is there (the rule), or both are gone and with them all hope
            return False
        return True

    def close(self) -> None:
        """Let go; the owner also removes it. A view that somebody still holds keeps the memory, never the name."""
        if self._fd < 0:
            return
        if self.owner:
            _remove_names(self.name)
        os.close(self._fd)
        self._fd = -1
        # With a view alive this raises: the mapping goes with the last of them, and nobody reads unmapped memory.
        with contextlib.suppress(BufferError):
            self._map.close()

    def __enter__(self) -> Segment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _header(self) -> Any:
        return np.frombuffer(self._map, HEADER, 1)[0]

    def _header_words(self) -> Words:
        return np.frombuffer(self._map, np.int64, 1)

    def _check(self) -> None:
        if load(self._header_words(), 0) != MAGIC:
            raise SegmentError(f"{self.name}: not a ringtrack segment, or not ready yet")
        layout = int(self._header()["layout"])
        if layout != LAYOUT:
            raise SegmentError(
                f"{self.name}: layout {layout}, this program reads {LAYOUT}; "
                "run both sides with the same version of ringtrack"
            )
        if int(self._header()["size"]) != self.size:
            raise SegmentError(f"{self.name}: {self.size} bytes, its header says {self._header()['size']}")


@dataclass(frozen=True)
class Swept:
    """A stale segment that was removed."""

    name: str
    owner_pid: int
    created_utc_ns: int
    size: int


def sweep(prefix: str = PREFIX) -> list[Swept]:
    """Remove every segment whose owner is dead; what was removed. Other people's segments are left alone."""
    swept = []
    for path in sorted(FOLDER.glob(prefix + "*")):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who holds the lock alone removes names. No link left: another sweep was faster, and the name may by now
            # be that of a living segment.
            if os.fstat(fd).st_nlink:
                swept.append(_described(fd, path.name.removesuffix(KEPT)))
                _remove_names(swept[-1].name)
        except BlockingIOError:
            continue
        finally:
            os.close(fd)
    return swept


def _described(fd: int, name: str) -> Swept:
    header = np.zeros(1, HEADER)
    raw = os.pread(fd, HEADER.itemsize, 0)
    if len(raw) == HEADER.itemsize:
        header = np.frombuffer(raw, HEADER, 1)
    return Swept(name, int(header["owner_pid"][0]), int(header["created_utc_ns"][0]), os.fstat(fd).st_size)


def _remove_names(name: str) -> None:
    for path in (FOLDER / name, FOLDER / (name + KEPT)):
        path.unlink(missing_ok=True)


def _claim_name(name: str) -> int:
    """A new locked file of both names. The kept one comes first: who has it has the segment."""
    kept = FOLDER / (name + KEPT)
    taken = SegmentError(f"{name}: this segment exists already, a run with its id is going on")
    while True:
        try:
            fd = os.open(kept, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            raise taken from None
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink == 1:
            break
        os.close(fd)  # A sweep found it in the moment before it was locked, and removed it.
    try:
        (FOLDER / name).hardlink_to(kept)
    except FileExistsError:
        kept.unlink()
        os.close(fd)
        raise taken from None
    return fd


def _reserve(fd: int, name: str, size: int) -> None:
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        room = os.statvfs(FOLDER)
        raise NoRoomError(
            f"{name}: {size / 2**20:.0f} MiB wanted, {room.f_bavail * room.f_frsize / 2**20:.0f} MiB free in "
            f"{FOLDER} ({error.strerror}). Lower ring.seconds, or give {FOLDER} more room "
            f"(mount -o remount,size=…)"
        ) from error


def _populate(mapping: mmap.mmap, advice: int) -> None:
    # Linux before 5.14 cannot: the pages come at first touch, 4 ms a slot dearer, once.
    with contextlib.suppress(OSError):
        mapping.madvise(advice)
