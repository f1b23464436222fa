"""Make a file openable whose writer died: clear the open-for-write flag in its superblock.

HDF5 marks a file that can be read while it is written. A writer that was killed cannot take the mark away, and
pandas, h5py, MATLAB and R then refuse the file, although everything up to the last flush is whole. This does what
the `h5clear -s` tool does, in place: bytes 11 (flags) and 44 to 47 (checksum) of a superblock of version 2 or 3. It
changes nothing in a file that is not exactly that, nor in one that a living recorder holds. A file that a full disk cut
shorter than its superblock says is made so long again (with a hole, which takes no room), or HDF5 would refuse it.

Superblock: 8 bytes signature, version, bytes of an address (8), bytes of a length (8), flags, 4 addresses, checksum
(HDF5 File Format Specification 3.0, II.A). The checksum is Bob Jenkins' lookup3 (2006, public domain).
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from engine.errors import RingtrackError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FLAGS, _END_OF_FILE, _CHECKSUM, _END = 11, 28, 44, 48
_WRITING, _SWMR = 0x01, 0x04
_MASK = 0xFFFFFFFF


class NotClearedError(RingtrackError):
    """The file is not one whose flag may be cleared; it was not touched."""


def clear(path: Path) -> bool:
    """Clear the flag of a dead writer; True if there was one, False if the file was closed in order.

    Called by the supervisor after a recorder died and by whoever opens a run; two at once do no harm.
    Raises NotClearedError if this is no such file or its writer lives, OSError if it cannot be read or written.
    """
    with path.open("rb") as file:
        flags = _flags(path, file.read(_END))
    if not flags:
        return False
    with path.open("r+b") as file:
        _refuse_if_held(path, file.fileno())
        head = bytearray(file.read(_END))
        if not _flags(path, bytes(head)):
            return False
        (end,) = struct.unpack_from("<Q", head, _END_OF_FILE)
        if end > os.fstat(file.fileno()).st_size:
            os.truncate(file.fileno(), end)
        head[_FLAGS] = 0
        head[_CHECKSUM:] = struct.pack("<I", lookup3(bytes(head[:_CHECKSUM])))
        os.pwrite(file.fileno(), head[_FLAGS:], _FLAGS)  # One write: flag and checksum never disagree.
        os.fsync(file.fileno())
    return True


def is_marked(path: Path) -> bool:
    """Whether the file says that it is open for writing, by a living writer or a dead one."""
    with path.open("rb") as file:
        return bool(_flags(path, file.read(_END)))


def is_held(path: Path) -> bool:
    """Whether a living recorder writes this file."""
    with path.open("rb") as file:
        try:
            _refuse_if_held(path, file.fileno())
        except NotClearedError:
            return True
    return False


def hold(path: Path) -> int:
    """Mark a file as held for the life of this process; returns the descriptor to close at the end.

    A shared lock: HDF5's own readers take one too, so they are not in the way; `clear` asks for an exclusive one.
    """
    held = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        raise
    return held


def _refuse_if_held(path: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise NotClearedError(f"{path} is being written or read by a living process") from None
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _flags(path: Path, head: bytes) -> int:
    """The consistency flags of a superblock; refuses all that is not version 2 or 3, whole and known."""
    if len(head) < _END or not head.startswith(SIGNATURE):
        raise NotClearedError(f"{path} is no HDF5 file")
    version, offsets, lengths, flags = head[8:12]
    if version not in (2, 3) or (offsets, lengths) != (8, 8):
        raise NotClearedError(f"{path} has a superblock of version {version}, which has no flag to clear")
    if struct.unpack("<I", head[_CHECKSUM:_END])[0] != lookup3(head[:_CHECKSUM]):
        raise NotClearedError(f"{path} has a damaged superblock: its checksum is wrong")
    if flags & ~(_WRITING | _SWMR):
        raise NotClearedError(f"{path} has the unknown flags 0x{flags:02x} in its superblock")
    return flags


def lookup3(data: bytes) -> int:
    """Bob Jenkins' `hashlittle` with an initial value of 0: HDF5's checksum of its own structures."""
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    while len(data) > 12:
        x, y, z = struct.unpack_from("<III", data)
        a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
        a, b, c = _mix(a, b, c)
        data = data[12:]
    if not data:
        return c
    x, y, z = struct.unpack("<III", data.ljust(12, b"\0"))
    return _final((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)


def _rotated(value: int, by: int) -> int:
    return ((value << by) | (value >> (32 - by))) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for by in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _MASK) ^ _rotated(c, by)
        c = (c + b) & _MASK
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for by in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, by)) & _MASK
        a, b, c = b, c, a
    return b
