"""Frames as JPEG for browsers: stretched to 8 bits by percentiles that change slowly, encoded once for each size.

A picture message is a head of `HEAD` (little-endian) and the JPEG; a particles message is the same head and, for each
particle, x, y (pixels of the camera), size (float32) and the particle's number (uint32).
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from bridge.looking import Look

HEAD = struct.Struct("<BBHIIqqdd")
"""Kind (1 picture, 2 particles), settings version mod 256, step, width, height (of the camera), frame number, place,
age when it was encoded (ms since the frame was received), particles."""
PICTURE, PARTICLES = 1, 2
MOST_DRAWN = 4000
_EASE = 0.1


class Stretch:
    """Black and white level of the pictures: the 0.5 and 99.8 percentiles, following slowly: nothing flickers."""

    def __init__(self) -> None:
        self.low, self.high = 0.0, 0.0

    def follow(self, pixels: NDArray[Any]) -> None:
        sample = pixels[::7, ::7] if pixels.size > 10_000 else pixels
        low, high = (float(each) for each in np.percentile(sample, (0.5, 99.8)))
        if self.high <= self.low:
            self.low, self.high = low, max(high, low + 1)
        self.low += _EASE * (low - self.low)
        self.high += _EASE * (max(high, low + 1) - self.high)

    def apply(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        # By a table: a quarter of the time of the arithmetic for each pixel.
        values = np.arange(1 << (8 * pixels.dtype.itemsize), dtype=np.float32)
        scale = np.float32(255.0 / max(1.0, self.high - self.low))
        table = np.clip((values - np.float32(self.low)) * scale, 0, 255).astype(np.uint8)
        grey = np.empty(pixels.shape, np.uint8)
        np.take(table, pixels, out=grey, mode="clip")  # half the time of table[pixels]: nothing is checked
        return grey


@dataclass
class Encoded:
    """A frame as it is sent to everybody who wants it in this size: encoded once for each quality."""

    place: int
    made_at: float
    head: bytes
    grey: NDArray[np.uint8]
    particles: bytes
    by_quality: dict[int, bytes] = field(default_factory=dict)

    def picture(self, quality: int) -> tuple[bytes, bool]:
        """The message, and whether it had to be encoded now."""
        made = quality not in self.by_quality
        if made:
            self.by_quality[quality] = self.head + jpeg(self.grey, quality)
        return self.by_quality[quality], made


def jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """Grey JPEG of (height, width) uint8."""
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, "JPEG", quality=quality)
    return out.getvalue()


def head(kind: int, look: Look, shape_hw: tuple[int, int], now_ns: int) -> bytes:
    """The head of a message about a frame."""
    meta = look.meta
    age_ms = max(0.0, (now_ns - meta["t_received_ns"]) / 1e6)
    height, width = shape_hw
    return HEAD.pack(
        kind, meta["settings"] % 256, look.step, width, height, meta["frame"], look.place, age_ms, float(len(look.rows))
    )


def particles(rows: NDArray[Any]) -> bytes:
    """The brightest of a frame's particles, as the page draws them."""
    if len(rows) > MOST_DRAWN:
        rows = rows[np.argsort(rows["signal"])[-MOST_DRAWN:]]
    table = np.empty((len(rows), 4), "<f4")
    table[:, 0], table[:, 1], table[:, 2] = rows["x"], rows["y"], rows["size"]
    table.view("<u4")[:, 3] = rows["particle"].astype("<u4")
    return table.tobytes()
