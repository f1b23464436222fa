"""TIFF files as cameras write them: is it complete, and what is in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from bridge.pictures import Pixels

SUFFIXES = (".tif", ".tiff")
_DIGITS = re.compile(r"\d+")


class NotWholeError(Exception):
    """The file is not there in full (yet), or is no TIFF: what is missing."""


class WrongKindError(Exception):
    """It is a whole TIFF, but no camera frame: why."""


def is_candidate(name: str) -> bool:
    """Does a file of that name hold a frame? Hidden and temporary files do not."""
    return name.lower().endswith(SUFFIXES) and not name.startswith((".", "~"))


def number_of(name: str) -> int | None:
    """The last number in a file's name, without its suffix: 2 is before 10. None: there is none of 63 bits."""
    found = _DIGITS.findall(name.rsplit(".", 1)[0])
    return int(found[-1]) if found and int(found[-1]) < 1 << 63 else None


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts names with their numbers as numbers."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def read_frame(path: Path, pixels: bool = True) -> Pixels:
    """Read the one image of a file. Raises NotWholeError, WrongKindError, or OSError (locked, gone).

    Without `pixels` it looks whether the file is whole and a frame, and gives one pixel in place of them.
    """
    size = path.stat().st_size
    if size < 8:
        raise NotWholeError(f"{size} bytes")
    with path.open("rb") as handle:
        try:
            with tifffile.TiffFile(handle, name=path.name) as tif:
                pages = len(tif.pages)
                if pages != 1:
                    if pages == 0:
                        raise NotWholeError("it has no image yet")
                    for page in tif.pages:
                        check_whole(page, size)
                    raise WrongKindError(f"{pages} images in one file: send it as a stack")
                page = tif.pages[0]
                check_whole(page, size)
                return frame_of(page.asarray() if pixels else np.zeros((1,) * len(page.shape), page.dtype))
        except (NotWholeError, WrongKindError, OSError):
            raise
        except Exception as error:  # tifffile raises whatever a broken file makes it stumble over
            raise NotWholeError(f"its directory cannot be read ({type(error).__name__}: {error})") from None


def check_whole(page: Any, size: int) -> None:
    """Does the last strip end inside the file? Raises NotWholeError."""
    offsets, counts = page.dataoffsets, page.databytecounts
    if not offsets or len(offsets) != len(counts):
        raise NotWholeError("it says nowhere where its pixels are")
    end = max(offset + count for offset, count in zip(offsets, counts))
    if end > size:
        raise NotWholeError(f"{end - size} bytes of its pixels are missing")
    if min(offsets) <= 0 or min(counts) < 0:
        raise NotWholeError("its pixels have no place yet")


def frame_of(image: Any) -> Pixels:
    """The array as a camera frame. Raises WrongKindError."""
    if image.ndim != 2 or image.dtype.kind != "u" or image.dtype.itemsize > 2:
        raise WrongKindError(f"{image.dtype} {'x'.join(map(str, image.shape))} is no frame of uint8 or uint16")
    native: Pixels = np.ascontiguousarray(image, image.dtype.newbyteorder("="))
    return native
