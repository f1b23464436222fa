"""Micrometres a pixel: from a ruling, from two points and their distance, or from a step of a stage."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from engine.physics.bead import Array

RESIDUAL_LIMIT = 0.005
"""Above, something is wrong with the image."""


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """A calibration of the scale; stored with what it is good for."""

    pixel_um: float
    residual: float  # relative: how far parts of the measurement disagree
    method: str
    angle_deg: float = 0.0
    objective: str = ""
    binning: int = 1
    person: str = ""
    date: str = ""


def from_ruling(image: Array, period_um: float) -> Scale:
    """From an image `(height, width)` of parallel lines `period_um` apart, at any angle.

    The strongest spatial frequency is found on the Fourier transform and refined by maximising the windowed transform
    itself, which knows no grid. The residual is the relative difference of four quarters of the image. ValueError if
    no line pattern stands out.
    """
    whole = _frequency(image)
    height, width = image.shape
    quarters = [
        _refine(image[y : y + height // 2, x : x + width // 2], whole)
        for y in (0, height - height // 2)
        for x in (0, width - width // 2)
    ]
    lengths = np.linalg.norm(quarters, axis=1)
    f = float(np.linalg.norm(whole))
    angle = math.degrees(math.atan2(whole[0], whole[1]))
    return Scale(
        pixel_um=period_um * f, residual=float(np.std(lengths) / f), method="ruling",
        angle_deg=(angle + 90) % 180 - 90,
    )  # fmt: skip


def from_points(a_px: Array, b_px: Array, distance_um: float) -> Scale:
    """From two points and the distance between them. ValueError if they are the same point."""
    length = float(np.linalg.norm(np.subtract(b_px, a_px)))
    if not length > 0 or not distance_um > 0:
        raise ValueError("the two points must be apart, and the distance above 0")
    return Scale(pixel_um=distance_um / length, residual=math.nan, method="two points")


def from_steps(before_px: Array, after_px: Array, step_um: float) -> Scale:
    """From features `(n, 2)` seen before and after a known step of the stage; the residual is their disagreement."""
    moved = np.asarray(after_px, float) - np.asarray(before_px, float)
    mean = moved.mean(axis=0)
    length = float(np.linalg.norm(mean))
    if not length > 0 or not step_um > 0:
        raise ValueError("nothing moved")
    spread = float(np.sqrt(np.mean(np.sum((moved - mean) ** 2, axis=1)))) / length if len(moved) > 1 else math.nan
    return Scale(pixel_um=step_um / length, residual=spread, method="stage step")


def _frequency(image: Array) -> Array:
    """The strongest spatial frequency (fy, fx) in cycles a pixel."""
    windowed = _windowed(image)
    power = np.abs(np.fft.rfft2(windowed))
    power[:2, :2] = power[-1:, :2] = 0  # brightness and what the window makes of it
    row, column = np.unravel_index(int(power.argmax()), power.shape)
    if power[row, column] < 20 * np.median(power[power > 0]):
        raise ValueError("no ruling is seen in the image: no spatial frequency stands out")
    fy = row / image.shape[0]
    return _refine(image, np.array([fy - 1 if fy > 0.5 else fy, column / image.shape[1]]))


def _refine(image: Array, f: Array) -> Array:
    """Maximise |Σ image window exp(-2πi f r)| near f, coordinate by coordinate."""
    windowed = _windowed(image).astype(complex)
    y, x = (np.arange(n) for n in image.shape)

    def power(at: Array) -> float:
        return float(abs(np.exp(-2j * np.pi * at[0] * y) @ windowed @ np.exp(-2j * np.pi * at[1] * x)))

    at, step = np.array(f, float), np.array([1 / n for n in image.shape])
    while step.max() > 1e-7:
        moved = False
        for axis in (0, 1):
            for sign in (-1, 1):
                other = at.copy()
                other[axis] += sign * step[axis]
                if power(other) > power(at):
                    at, moved = other, True
        if not moved:
            step = step / 2
    return at


def _windowed(image: Array) -> Array:
    window = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    image = np.asarray(image, float)
    out: Array = (image - np.sum(image * window) / window.sum()) * window
    return out
