"""A finished stack is an OME-TIFF: size of a pixel, time of every page, for Fiji, napari and MATLAB (Bio-Formats).

While a stack grows, the description of a page is its JSON. When it is closed, or repaired, the first page gets a new
directory behind the end of the file, whose description is the OME-XML of all pages; its JSON goes on in the private tag
65000. One write of 8 bytes in the header puts that directory into force: until then, and whatever kills who does it,
the stack is what it was.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

ABOUT = 65000
"""Private tag, text: the JSON of a page whose description is something else."""
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _DESCRIPTION, _PLACE, _BYTES = 256, 257, 258, 259, 270, 273, 279
_DECODERS = {5: "lzw_decode", 8: "zlib_decode", 50000: "zstd_decode"}
_SIZES = {1: 1, 3: 2, 4: 4, 16: 8}  # bytes of a number of these types
_ENTRY = struct.Struct("<HHQQ")
_FIRST = 8  # where the header says where the first directory is
_ASCII = 2


@dataclass(frozen=True)
class Page:
    """One page of a stack of ours: where its directory lies, and what it says of itself."""

    directory: int
    about: dict[str, Any]
    entries: dict[int, tuple[int, int, int]]  # tag: type, count, value or place
    next: int  # directory of the next page, 0 after the last


def pages_of(path: Path) -> Iterator[Page]:
    """The pages of a stack that ringtrack wrote, in order; none if it is another kind of file. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(16)
        if len(head) < 16 or head[:8] != struct.pack("<2sHHH", b"II", 43, 8, 0):
            return
        (place,) = struct.unpack_from("<Q", head, _FIRST)
        while place:
            page = _page(file, place)
            if page is None:
                return
            yield page
            place = page.next


def finish(path: Path, name: str, pixel_um: float) -> bool:
    """Make a stack an OME-TIFF, when nobody writes it any more; False if it is one, or has no page. Raises OSError."""
    pages = list(pages_of(path))
    if not pages:
        return False
    with path.open("rb") as file:
        if _text(file, pages[0].entries[_DESCRIPTION]).endswith(_mark(len(pages))):
            return False
    xml = (_xml(pages, name, pixel_um) + _mark(len(pages))).encode() + b"\0"
    entries = dict(pages[0].entries)
    entries.setdefault(ABOUT, entries[_DESCRIPTION])
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        start = -(-os.fstat(descriptor).st_size // 16) * 16
        entries[_DESCRIPTION] = (_ASCII, len(xml), start)
        directory = -(-(start + len(xml)) // 16) * 16
        packed = b"".join(_ENTRY.pack(tag, *entry) for tag, entry in sorted(entries.items()))
        data = xml.ljust(directory - start, b"\0") + struct.pack("<Q", len(entries)) + packed
        data += struct.pack("<Q", pages[0].next)
        view, place = memoryview(data), start
        while view:  # a disk that is nearly full takes a part
            done = os.pwrite(descriptor, view, place)
            view, place = view[done:], place + done
        os.fsync(descriptor)
        os.pwrite(descriptor, struct.pack("<Q", directory), _FIRST)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


class Strip(NamedTuple):
    """Where the pixels of a page lie, and how."""

    place: int
    bytes: int
    compression: int
    shape_hw: tuple[int, int]
    dtype: str

    @classmethod
    def of(cls, page: Page) -> Strip:
        height, width, bits, place, size, compression = (
            page.entries[tag][2] & (1 << 8 * _SIZES[page.entries[tag][0]]) - 1
            for tag in (_HEIGHT, _WIDTH, _BITS, _PLACE, _BYTES, _COMPRESSION)
        )
        return cls(place, size, compression, (height, width), f"uint{bits}")


def read_strip(path: Path, strip: Strip) -> NDArray[Any]:
    """The pixels of a page. Raises OSError, ValueError and what the codecs raise.

    Not by tifffile, which would read the description of the whole stack again for every page.
    """
    import imagecodecs

    with path.open("rb") as file:
        file.seek(strip.place)
        data: Any = file.read(strip.bytes)
    if strip.compression in _DECODERS:
        data = getattr(imagecodecs, _DECODERS[strip.compression])(data)
    elif strip.compression != 1:
        raise ValueError(f"compression {strip.compression} is none of ours")
    return np.frombuffer(data, strip.dtype).reshape(strip.shape_hw)


def _page(file: BinaryIO, directory: int) -> Page | None:
    file.seek(directory)
    head = file.read(8)
    if len(head) < 8:
        return None
    count = struct.unpack("<Q", head)[0]
    if not 0 < count < 200:
        return None
    data = file.read(20 * count + 8)
    if len(data) < 20 * count + 8:
        return None
    entries = {}
    for at in range(0, 20 * count, 20):
        tag, *entry = _ENTRY.unpack_from(data, at)
        entries[tag] = (entry[0], entry[1], entry[2])
    try:
        about = json.loads(_text(file, entries[ABOUT if ABOUT in entries else _DESCRIPTION]))
        about["frame"] = int(about["frame"])
    except (KeyError, TypeError, ValueError):
        return None  # not one of ours
    return Page(directory, about, entries, struct.unpack_from("<Q", data, 20 * count)[0])


def _text(file: BinaryIO, entry: tuple[int, int, int]) -> str:
    _, count, place = entry
    file.seek(place)
    return file.read(count).rstrip(b"\0").decode(errors="replace")


def _mark(pages: int) -> str:
    """What the XML of a stack ends with, which OME's readers look for: of so many pages."""
    return f"<!-- {pages} pages --></OME>"


def _xml(pages: list[Page], name: str, pixel_um: float) -> str:
    """OME-XML without its last tag. Times are seconds after the first page."""
    first = pages[0]
    strip = Strip.of(first)
    shape, dtype = strip.shape_hw, np.dtype(strip.dtype)
    times_ns = np.array([int(page.about["time_utc_ns"]) for page in pages], np.int64)
    seconds = (times_ns - times_ns[0]) / 1e9
    about: dict[str, Any] = {
        "Name": name,
        "AcquisitionDate": datetime.fromtimestamp(times_ns[0] / 1e9, UTC).replace(tzinfo=None).isoformat(),
        "Plane": {"DeltaT": [round(float(s), 9) for s in seconds], "DeltaTUnit": ["s"] * len(pages)},
    }
    if len(pages) > 1:
        about |= {"TimeIncrement": round(float(np.median(np.diff(seconds))), 9), "TimeIncrementUnit": "s"}
    if pixel_um:
        about |= {"PhysicalSizeX": pixel_um, "PhysicalSizeXUnit": "µm"}
        about |= {"PhysicalSizeY": pixel_um, "PhysicalSizeYUnit": "µm"}
    ome = tifffile.OmeXml(Creator="ringtrack")
    ome.addimage(dtype, (len(pages), *shape), (len(pages), 1, 1, *shape, 1), axes="TYX", **about)
    return ome.tostring(declaration=True).removesuffix("</OME>")
