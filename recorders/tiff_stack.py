"""One BigTIFF a run, to which each frame is a page: `run_001_frames.tiff`.

A page is made whole by tifffile in a thread, as a file of its own; here it is moved behind what there is:

    1. the page (its pixels, tags, directory with no next one) is written behind the end of the file
    2. its place is written into the directory of the page before it (8 bytes)

Whatever kills the recorder, the file is a whole TIFF of the frames whose step 2 was done: what lies behind is of no
page. tifffile's own appending does step 2 first. Closed in order, it is an OME-TIFF (`recorders.tiff_ome`).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from recorders.tiff_ome import pages_of

HEADER = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0)
"""Of a BigTIFF of little-endian numbers that has no page yet: the last 8 bytes are the place of the first directory."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_ENTRY = struct.Struct("<HHQQ")
_PLACES = 273  # StripOffsets


class Stack:
    """A stack that grows. Opened again, it goes on after its last whole page."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._open = True
        self._link, self.last_frame = _end_of(path) if os.fstat(self._file).st_size >= 16 else (8, -1)
        if self._link == 8:
            self._put(0, HEADER)

    def append(self, page: bytes) -> int:
        """Add a page: a BigTIFF file of one image in one strip. Bytes written. Raises OSError."""
        end = os.fstat(self._file).st_size
        start = -(-end // 16) * 16
        moved, directory = _moved(page, start)
        self._put(start, moved)
        self._put(self._link, struct.pack("<Q", directory))
        self._link = directory + 8 + 20 * struct.unpack_from("<Q", moved, directory - start)[0]
        return len(page)

    def close(self) -> None:
        if self._open:
            self._open = False
            os.fsync(self._file)
            os.close(self._file)

    def _put(self, place: int, data: bytes | bytearray) -> None:
        view = memoryview(data)
        while view:  # a disk that is nearly full takes a part
            done = os.pwrite(self._file, view, place)
            view, place = view[done:], place + done


def _moved(page: bytes, start: int) -> tuple[bytearray, int]:
    """The page with all its places counted from `start`, and the place of its directory."""
    out = bytearray(page)
    directory = struct.unpack_from("<Q", page, 8)[0]
    count = struct.unpack_from("<Q", page, directory)[0]
    for at in range(directory + 8, directory + 8 + 20 * count, 20):
        tag, kind, values, value = _ENTRY.unpack_from(page, at)
        if _SIZES[kind] * values > 8:
            _ENTRY.pack_into(out, at, tag, kind, values, value + start)
        elif tag == _PLACES:
            if values != 1:
                raise ValueError(f"a page of {values} strips; one was asked for")
            place = value & (1 << 8 * _SIZES[kind]) - 1
            _ENTRY.pack_into(out, at, tag, 16, 1, place + start)
    return out, directory + start


def _end_of(path: Path) -> tuple[int, int]:
    """Where the place of the next directory is to be written, and the number of the last frame; (8, -1): no page."""
    place, last = 8, -1
    for page in pages_of(path):
        place, last = page.directory + 8 + 20 * len(page.entries), int(page.about["frame"])
    return place, last
