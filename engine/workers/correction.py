"""Corrections of camera frames: dark, flat, background, bad pixels, mask and region, in front of detection.

The *corrected frame* has the camera's type. Every pixel is

    floor((pixel - base) * gain + offset + 1/2), cut to the type's range,

computed in float32 with one rounding an operation. *base* is the background where there is one, else the dark frame,
else 0; *gain* is mean(flat - dark) / (flat - dark); `offset` (100 counts) is added where something was subtracted, so
that noise below 0 is not cut off. Then a bad pixel becomes the rounded mean of the nearest good ones, and what is
masked or outside the region becomes the median of a thousand fixed good pixels: a level without features of its own.

Detection sees the corrected frame alone, so the features are those of `trackpy.locate(corrected frame)`. Recorded
pixels stay raw, and saturated pixels are counted in the raw frame.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.errors import SettingsError
from engine.regions import region_of
from engine.workers.compiled import kernel
from engine.workers.lanes import as_elements_of, as_f32, as_i32, larger, load, select, splat, store

if TYPE_CHECKING:
    from engine.experiment import Camera
    from engine.experiment import Correction as Settings

_NEIGHBOURS = 8  # good pixels that stand for a bad one, at most
_FARTHEST = 8  # pixels: a bad pixel with no good one so near is masked
_SAMPLE = 1024  # good pixels whose median fills what is masked


@dataclass(frozen=True)
class Correction:
    """What is done to the frames of a run, ready to be applied. Arrays are (height, width), or (1, 1) where unused."""

    base: NDArray[np.float32]
    gain: NDArray[np.float32]
    offset: float
    masked: NDArray[np.bool_]
    bad: NDArray[np.int64]  # by raster order: y, x, how many good neighbours, then their y and x
    sample: NDArray[np.int64]  # y, x of the good pixels whose median fills what is masked

    @classmethod
    def of(
        cls,
        shape_hw: tuple[int, int],
        *,
        dark: NDArray[Any] | None = None,
        flat: NDArray[Any] | None = None,
        background: NDArray[Any] | None = None,
        bad_pixels: NDArray[Any] | None = None,
        mask: NDArray[Any] | None = None,
        region: tuple[int, int, int, int] = (0, 0, 0, 0),
        offset: float = 100.0,
    ) -> Self:
        """Prepare. Arrays have the frame's shape; `bad_pixels` and `mask` are true where pixels are bad or ignored.

        `region` is y0, y1, x0, x1, the ends not included; y1 or x1 of 0 stands for the frame's end. Raises ValueError.
        """
        for name, given in (("dark", dark), ("flat", flat), ("background", background), ("bad_pixels", bad_pixels),
                            ("mask", mask)):  # fmt: skip
            if given is not None and given.shape != shape_hw:
                raise ValueError(f"{name}: {given.shape[0]} x {given.shape[-1]} pixels are not those of the frames, "
                                 f"{shape_hw[0]} x {shape_hw[1]}")  # fmt: skip
        nothing = np.zeros((1, 1), np.float32)
        broken = np.zeros(shape_hw, bool) if bad_pixels is None else bad_pixels.astype(bool)
        base = background if background is not None else dark
        gain = nothing
        if flat is not None:
            light = flat.astype(np.float64) - (0.0 if dark is None else dark.astype(np.float64))
            middle = float(np.median(light))
            dead = light < 0.05 * middle
            broken |= dead  # what the light does not reach cannot be divided by
            light[dead] = middle
            gain = np.ascontiguousarray(light.mean() / light, np.float32)
        ignored = np.zeros(shape_hw, bool) if mask is None else mask.astype(bool)
        y0, y1, x0, x1 = region
        outside = np.ones(shape_hw, bool)
        outside[y0 : y1 or None, x0 : x1 or None] = False
        ignored |= outside
        bad, lonely = _neighbours(broken & ~ignored, ~broken & ~ignored)
        ignored |= lonely
        good = np.argwhere(~broken & ~ignored)
        if len(good) == 0:
            raise ValueError("mask and region leave no pixel")
        return cls(
            base=nothing if base is None else np.ascontiguousarray(base, np.float32),
            gain=gain,
            offset=float(offset) if base is not None else 0.0,
            masked=ignored if ignored.any() else np.zeros((1, 1), bool),
            bad=bad,
            sample=good[:: max(1, len(good) // _SAMPLE)],
        )

    @classmethod
    def from_settings(cls, settings: Settings, camera: Camera) -> Self | None:
        """Read the files that the settings name; None if they correct nothing. Raises SettingsError."""
        if not settings.active:
            return None
        arrays: dict[str, Any] = {}
        for name in settings.FILES:
            path = getattr(settings, name)
            if not path:
                continue
            try:
                arrays[name] = np.load(path, allow_pickle=False)
            except (OSError, ValueError) as error:
                raise SettingsError(
                    f"correction.{name}: {path} cannot be read: {error}. `ringtrack calibrate` writes such files"
                ) from None
        try:
            return cls.of(camera.shape_hw, **arrays, region=region_of(settings.region), offset=settings.offset)
        except ValueError as error:
            raise SettingsError(f"correction.{error}") from None

    def apply(self, pixels: NDArray[Any], tile: tuple[int, int, int, int], out: NDArray[Any]) -> None:
        """Write the corrected pixels of a tile (y0, y1, x0, x1) into `out`, an array of the whole frame."""
        top = np.float32(np.iinfo(out.dtype).max)
        shift = np.float32(self.offset) + np.float32(0.5)
        _correct(pixels, *tile, self.base, self.gain, shift, top, out)
        fill = 0
        if self.masked.size > 1:
            values = np.zeros(len(self.sample), np.int64)
            for_sample = (pixels, self.base, self.gain, shift, top, self.sample, values)
            _correct_some(*for_sample)
            fill = int(np.partition(values, len(values) // 2)[len(values) // 2])
        _mend(pixels, *tile, self.base, self.gain, shift, top, self.bad, self.masked, fill, out)

    def corrected(self, frame: NDArray[Any]) -> NDArray[Any]:
        """The whole corrected frame, as a new array."""
        out = np.empty_like(frame)
        self.apply(frame, (0, frame.shape[0], 0, frame.shape[1]), out)
        return out

    def with_background(self, background: NDArray[np.float32], offset: float) -> Correction:
        """The same with another background, (height, width); quick, for a frame that waits."""
        return replace(self, base=background, offset=offset)

    def cut(self, height: int, width: int) -> Correction:
        """Of the same kind for a smaller frame: for warming up."""
        inside = [name for name in ("base", "gain", "masked") if getattr(self, name).size > 1]
        arrays = {name: getattr(self, name) for name in ("base", "gain", "masked")}
        arrays |= {name: np.ascontiguousarray(arrays[name][:height, :width]) for name in inside}
        some = np.zeros((1, 2), np.int64)
        return Correction(**arrays, offset=self.offset, bad=self.bad[:0], sample=some)


def _neighbours(broken: NDArray[np.bool_], good: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The good pixels nearest to each broken one; and the broken ones that have none near."""
    height, width = broken.shape
    lonely = np.zeros_like(broken)
    table: list[NDArray[np.int64]] = []
    for y, x in np.argwhere(broken):
        for reach in range(1, _FARTHEST + 1):
            y0, x0 = max(0, y - reach), max(0, x - reach)
            found = np.argwhere(good[y0 : min(height, y + reach + 1), x0 : min(width, x + reach + 1)]) + (y0, x0)
            if len(found):
                nearest = found[np.argsort(((found - (y, x)) ** 2).sum(axis=1), kind="stable")][:_NEIGHBOURS]
                line = np.zeros(3 + 2 * _NEIGHBOURS, np.int64)
                line[:3] = y, x, len(nearest)
                line[3 : 3 + 2 * len(nearest)] = nearest.ravel()
                table.append(line)
                break
        else:
            lonely[y, x] = True
    return np.array(table, np.int64).reshape(-1, 3 + 2 * _NEIGHBOURS), lonely


@kernel
def _correct(pixels, y0, y1, x0, x1, base, gain, shift, top, out):
    """The formula of the module, for a block: sixteen pixels at a time, the last ones of a row one by one."""
    zero, most, added = splat(np.float32(0), 16), splat(top, 16), splat(shift, 16)
    with_base, with_gain = base.size > 1, gain.size > 1
    if not with_base and not with_gain:
        for y in range(y0, y1):
            for x in range(x0, x1):
                out[y, x] = pixels[y, x]
        return
    for y in range(y0, y1):
        x = x0
        while x + 16 <= x1:
            value = as_f32(as_i32(load(pixels, y, x, 16)))
            if with_base:
                value = value - load(base, y, x, 16)
            if with_gain:
                value = value * load(gain, y, x, 16)
            value = larger(value + added, zero)
            value = select(value > most, most, value)
            store(out, y, x, as_elements_of(as_i32(value), out))
            x += 16
        for i in range(x, x1):
            one = np.float32(pixels[y, i])
            if with_base:
                one = one - base[y, i]
            if with_gain:
                one = one * gain[y, i]
            one = one + shift
            out[y, i] = np.int32(min(max(one, np.float32(0)), top))


@kernel
def _one(pixel, y, x, base, gain, shift, top):
    """The formula of the module, for a pixel, rounded as `_correct` rounds."""
    value = np.float32(pixel)
    if base.size == 1 and gain.size == 1:
        return np.int64(pixel)
    if base.size > 1:
        value = value - base[y, x]
    if gain.size > 1:
        value = value * gain[y, x]
    value = value + shift
    return np.int64(min(max(value, np.float32(0)), top))


@kernel
def _correct_some(pixels, base, gain, shift, top, places, values):
    for n in range(places.shape[0]):
        y, x = places[n, 0], places[n, 1]
        values[n] = _one(pixels[y, x], y, x, base, gain, shift, top)


@kernel
def _mend(pixels, y0, y1, x0, x1, base, gain, shift, top, bad, masked, fill, out):
    """Bad and masked pixels of a block. Neighbours are corrected anew: they may belong to another tile."""
    for n in range(bad.shape[0]):
        y, x, count = bad[n, 0], bad[n, 1], bad[n, 2]
        if y < y0 or y >= y1 or x < x0 or x >= x1:
            continue
        total = np.int64(0)
        for k in range(count):
            ny, nx = bad[n, 3 + 2 * k], bad[n, 4 + 2 * k]
            total += _one(pixels[ny, nx], ny, nx, base, gain, shift, top)
        out[y, x] = (2 * total + count) // (2 * count)
    if masked.size > 1:
        for y in range(y0, y1):
            for x in range(x0, x1):
                if masked[y, x]:
                    out[y, x] = fill
