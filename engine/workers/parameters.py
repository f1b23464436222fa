"""What detection is told: trackpy's parameters for one shape and type of frame, checked and complete.

A pair is always (y, x). Built once, from the experiment's settings or from the arguments of `engine.locate`; the same
parameters give the same bytes in every process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from engine.experiment import Camera, Tracking

Pair = tuple[float, float]
IntPair = tuple[int, int]

INTEGER_TYPES = ("uint8", "uint16")
FLOAT_TYPES = ("float32", "float64")
PRECISIONS = ("double", "single")
LARGEST_SMOOTHING = 4095  # the box mean's division by multiplication is exact up to here
LARGEST_DIAMETER = 255  # sums over a row of a mask fit in 32 bits


@dataclass(frozen=True)
class LocateParameters:
    """Everything that decides which features a frame has. Lengths are in pixels, masses in camera counts.

    Raises ValueError for what no frame could be tracked with.
    """

    shape_hw: IntPair
    dtype: str  # of the camera's pixels: uint8 or uint16; float32 and float64 in `engine.locate` alone
    diameter: IntPair
    separation: Pair
    smoothing_size: IntPair
    noise_size: Pair = (1.0, 1.0)
    threshold: float = 1.0  # what the band-pass leaves below this is 0
    percentile: float = 64.0
    invert: bool = False
    preprocess: bool = True
    max_iterations: int = 10
    minmass: float = 0.0  # kept: mass > minmass
    maxmass: float = 0.0  # kept: mass < maxmass; 0: no limit, here and below
    max_ecc: float = 0.0  # kept: ecc < max_ecc
    minsize: float = 0.0  # kept: size > minsize
    maxsize: float = 0.0  # kept: size < maxsize
    min_signal: float = 0.0  # kept: signal > min_signal
    bits: int = 0  # of a pixel that count; 0: all of the type
    high_aligned: bool = False  # they are the upper ones
    precision: str = "double"  # of the band-pass: trackpy's; "single" is faster

    def __post_init__(self) -> None:
        if self.dtype not in INTEGER_TYPES + FLOAT_TYPES:
            known = ", ".join(INTEGER_TYPES + FLOAT_TYPES)
            raise ValueError(f"frames of {self.dtype} cannot be tracked; convert them to one of {known}")
        if any(size % 2 == 0 for size in self.diameter):
            raise ValueError("Feature diameter must be an odd integer. Round up.")
        if any(size < 3 for size in self.diameter):
            raise ValueError(f"diameter: {min(self.diameter)} is too small; it must be at least 3")
        if any(size > LARGEST_DIAMETER for size in self.diameter):
            raise ValueError(f"diameter: {max(self.diameter)} is too large; it must be at most {LARGEST_DIAMETER}")
        if any(size < 0 for size in self.separation):
            raise ValueError(f"separation: {min(self.separation)} is negative")
        if any(size < 0 for size in self.noise_size):
            raise ValueError(f"noise_size: {min(self.noise_size)} is negative")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision: {self.precision!r} is none of {', '.join(PRECISIONS)}")
        if not 0.0 <= self.percentile <= 100.0:
            raise ValueError("Percentiles must be in the range [0, 100]")
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations: {self.max_iterations} has to be larger than 0")
        if self.preprocess:
            if any(size % 2 == 0 for size in self.smoothing_size):
                raise ValueError("Smoothing size must be an odd integer. Round up.")
            if any(not 0 < size <= LARGEST_SMOOTHING for size in self.smoothing_size):
                raise ValueError(f"smoothing_size must be from 1 to {LARGEST_SMOOTHING}")
            if any(noise >= size for noise, size in zip(self.noise_size, self.smoothing_size)):
                raise ValueError("The smoothing length scale must be larger than the noise length scale.")

    @classmethod
    def from_settings(cls, tracking: Tracking, camera: Camera) -> LocateParameters:
        """Take the sections [tracking] and [camera] of an experiment; what they do not name is trackpy's default."""
        diameter = (int(tracking.diameter), int(tracking.diameter))
        return cls(
            shape_hw=camera.shape_hw,
            dtype=camera.dtype,
            diameter=diameter,
            separation=(float(tracking.separation), float(tracking.separation)),
            smoothing_size=diameter,
            percentile=tracking.percentile,
            invert=tracking.invert,
            minmass=tracking.minmass,
            maxmass=tracking.maxmass,
            max_ecc=tracking.max_ecc,
            minsize=tracking.minsize,
            maxsize=tracking.maxsize,
            min_signal=tracking.min_signal,
            bits=camera.bits,
            high_aligned=camera.high_aligned,
            precision=tracking.precision,
        )

    def small(self) -> LocateParameters:
        """The same for a frame for warming up, that has room for a few features."""
        height, width = (2 * margin + size + 1 for margin, size in zip(self.margin, self.diameter))
        return replace(self, shape_hw=(height, width))

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOAT_TYPES

    @property
    def level_dtype(self) -> np.dtype[np.unsignedinteger]:
        """Type of the scaled image on which features are found: the camera's own, uint8 for float frames."""
        return np.dtype(np.uint16 if self.dtype == "uint16" else np.uint8)

    # Cached is what every unit of work asks for.

    @cached_property
    def radius(self) -> IntPair:
        return (self.diameter[0] // 2, self.diameter[1] // 2)

    @property
    def isotropic(self) -> bool:
        return self.radius[0] == self.radius[1]

    @cached_property
    def window(self) -> IntPair:
        """Rectangle around a pixel in which it has to be the largest to be a maximum: `separation`, inscribed."""
        height, width = (max(1, int(2 * size / np.sqrt(2))) for size in self.separation)
        return (height, width)

    @property
    def margin(self) -> IntPair:
        """Pixels nearer to an edge than this are no maxima."""
        y, x = (
            int(max(radius, separation // 2 - 1, smoothing // 2))
            for radius, separation, smoothing in zip(self.radius, self.separation, self.smoothing_size)
        )
        return (y, x)

    @property
    def taps(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """One half of the two Gaussian kernels, the centre first; a single 1 where nothing is smoothed."""
        return (_half_gaussian(self.noise_size[0]), _half_gaussian(self.noise_size[1]))

    @property
    def flip(self) -> int:
        """What integer pixels are combined with by exclusive or: all ones to invert them, else 0."""
        return int(np.iinfo(self.dtype).max) if self.invert and not self.is_float else 0

    @property
    def saturation(self) -> int:
        """Smallest raw pixel at the sensor's limit; above every pixel for float frames."""
        if self.is_float:
            return 2**31 - 1
        width = 8 * np.dtype(self.dtype).itemsize
        bits = self.bits or width
        largest = (1 << bits) - 1
        return largest << (width - bits) if self.high_aligned else largest


def _half_gaussian(sigma: float) -> NDArray[np.float64]:
    # The very expression of trackpy.masks.gaussian_kernel (truncate 4): the bits matter.
    if sigma <= 0:
        return np.ones(1)
    reach = int(4 * sigma + 0.5)
    x = np.arange(-reach, reach + 1)
    weights = np.exp(x**2 / (-2 * sigma**2))
    weights = weights / np.sum(weights)
    return np.ascontiguousarray(weights[reach:])
