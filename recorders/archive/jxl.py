"""A camera file as a lossless JPEG XL: its pixels, its TIFF tags, its time.

The file is the standard's container: signature, file type, an `xml ` box with the original's tags (XMP, read by
exiftool and others), the codestream. `level=100` or `distance=0` of the codec are *not* exact; `lossless=True` is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr, unescape

import numpy as np
import tifffile
import xxhash
from numpy.typing import NDArray

NAMESPACE = "https://ringtrack.org/archive/1.0/"
_PLACES = {"StripOffsets", "StripByteCounts", "TileOffsets", "TileByteCounts", "FreeOffsets", "FreeByteCounts"}
WILD_BITS = 10.5  # mean of the differences: 9.8 with noise of 4096 values, 10.8 with 8192


class NoFrameError(Exception):
    """The file holds no camera frame, or not all of it: why."""


def read_tiff(path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """The one image of a camera file, and its tags. Raises NoFrameError or OSError."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        try:
            with tifffile.TiffFile(handle, name=path.name) as tif:
                if len(tif.pages) != 1:
                    raise NoFrameError(f"it has {len(tif.pages)} images, not one")
                page: Any = tif.pages[0]
                ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts)]
                if not ends or max(ends) > size:
                    raise NoFrameError("a part of its pixels is missing")
                image = page.asarray()
                tags = {tag.name: _plain(tag.value) for tag in page.tags.values() if tag.name not in _PLACES}
        except (NoFrameError, OSError):
            raise
        except Exception as error:  # tifffile raises whatever a broken file makes it stumble over
            raise NoFrameError(f"{type(error).__name__}: {error}") from None
    if image.ndim != 2 or image.dtype.kind != "u" or image.dtype.itemsize > 2:
        raise NoFrameError(f"{image.dtype} {'x'.join(map(str, image.shape))} is no frame of uint8 or uint16")
    return np.ascontiguousarray(image, image.dtype.newbyteorder("=")), tags


def checksum(image: NDArray[Any]) -> str:
    """xxh3-64 of the raw pixels, 16 hex digits: as in `/frames`."""
    return f"{xxhash.xxh3_64_intdigest(np.ascontiguousarray(image).data):016x}"


def packed(image: NDArray[Any], about: dict[str, Any], effort: int) -> bytes:
    """The whole file. `about`: what is kept beside the pixels, as JSON can say it."""
    import imagecodecs

    if effort == 1 and _is_wild(image):
        effort = 2
    data = bytes(imagecodecs.jpegxl_encode(image, effort=effort, lossless=True, usecontainer=True, numthreads=1))
    text = quoteattr(json.dumps(about, ensure_ascii=True), {"\n": "&#10;"})
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:ringtrack="{NAMESPACE}" ringtrack:original={text}/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()
    # The codec's own boxes (type, level) come first, ours in front of the codestream.
    place = next(start for start, kind, _ in _boxes(data) if kind in (b"jxlc", b"jxlp"))
    return data[:place] + (len(xmp) + 8).to_bytes(4, "big") + b"xml " + xmp + data[place:]


def _is_wild(image: NDArray[Any]) -> bool:
    """Whether pixels differ so much from their neighbours that a frame would not shrink at all.

    Effort 1 of libjxl 0.11 then writes beyond its own memory (seen with noise of 12 000 values and more, never with
    that of a 12-bit sensor), which may kill the process; effort 2 does not. A sixteenth of the rows is looked at.
    """
    if image.dtype != np.uint16 or image.shape[1] < 2:
        return False
    rows = image[::16].astype(np.int32)
    return bool(np.log2(1 + np.abs(np.diff(rows, axis=1))).mean() > WILD_BITS)


def unpacked(data: bytes) -> NDArray[Any]:
    """The pixels of a file. Raises NoFrameError."""
    import imagecodecs

    try:
        image: NDArray[Any] = imagecodecs.jpegxl_decode(data, numthreads=1)
    except Exception as error:  # of the codec's own kind
        raise NoFrameError(f"it cannot be decoded: {error}") from None
    return image


def codestream(data: bytes) -> bytes:
    """The picture itself, without its container; empty if it is in pieces or the boxes are not whole."""
    boxes = list(_boxes(data))
    if not boxes or boxes[-1][2] != len(data):
        return b""
    found = [data[start + 8 : end] for start, kind, end in boxes if kind == b"jxlc"]
    return found[0] if len(found) == 1 else b""


def about(data: bytes) -> dict[str, Any]:
    """What was kept beside the pixels; empty if it is no file of ours."""
    xmp = next((data[start + 8 : end].decode() for start, kind, end in _boxes(data) if kind == b"xml "), "")
    if "ringtrack:original=" not in xmp:
        return {}
    _, _, rest = xmp.partition("ringtrack:original=")
    text = rest[1 : rest.index(rest[0], 1)]
    found: dict[str, Any] = json.loads(unescape(text, {"&quot;": '"', "&apos;": "'", "&#10;": "\n"}))
    return found


def _boxes(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Start, kind and end of each box of a container (none: a bare codestream)."""
    start = 0
    while start + 8 <= len(data) and data.startswith(b"\0\0\0\x0cJXL "):
        length, kind, head = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        end = start + length if length >= head else len(data)
        yield start, kind, end
        start = end


def _plain(value: Any) -> Any:
    """A tag's value as JSON has it."""
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    return str(value)
