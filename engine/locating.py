"""`locate`: the features of one image, with trackpy's signature, answers, warnings and columns.

The arithmetic is that of the tracker processes: the same detector, with the whole image as its one tile.
"""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from engine.workers.centroids import CentroidDetector, Found
from engine.workers.features import Column
from engine.workers.layout import zeros_on_a_line
from engine.workers.masks import Mask
from engine.workers.parameters import LocateParameters

Number = float | tuple[float, float]

_NOTHING_SURVIVED = (
    "No maxima survived mass- and size-based filtering. Be advised that the mass computation was changed from version "
    "0.2.4 to 0.3.0 and from 0.3.3 to 0.4.0. See the documentation and the convenience functions "
    "'minmass_v03_change' and 'minmass_v04_change'."
)


def locate(
    raw_image: ArrayLike,
    diameter: Number,
    minmass: float | None = None,
    maxsize: float | None = None,
    separation: Number | None = None,
    noise_size: Number = 1,
    smoothing_size: Number | None = None,
    threshold: float | None = None,
    invert: bool = False,
    percentile: float = 64,
    topn: int | None = None,
    preprocess: bool = True,
    max_iterations: int = 10,
    filter_before: bool | None = None,
    filter_after: bool | None = None,
    characterize: bool = True,
    engine: str = "auto",
) -> pd.DataFrame:
    """Locate Gaussian-like blobs of some approximate size in an image.

    Arguments, defaults and columns (y, x, mass, size, ecc, signal, raw_mass, ep) are those of `trackpy.locate`, and so
    are the numbers. Images are two-dimensional, of uint8, uint16, float32 or float64. `engine` is accepted and has no
    effect. For features that are not round, `ep_y` and `ep_x` stand beside their own feature also after filtering.

    Raises ValueError for what is not offered; nothing is ever handed on to trackpy.
    """
    _warn_of_arguments(invert, filter_before, filter_after, engine)
    image = np.squeeze(np.asanyarray(raw_image))
    frame_number = getattr(raw_image, "frame_no", None)
    image = np.ascontiguousarray(np.asarray(image))
    if image.ndim != 2:
        raise ValueError(f"locate works on two-dimensional images; this one has {image.ndim} dimensions")
    if 3 in image.shape or 4 in image.shape:
        warnings.warn(
            "I am interpreting the image as 2-dimensional. If it is actually a 1-dimensional color image, convert it "
            "to grayscale first.",
            stacklevel=2,
        )
    if max_iterations <= 0:
        warnings.warn("max_iterations has to be larger than 0. setting it to 1.", stacklevel=2)
        max_iterations = 1
    parameters = _parameters(
        image, diameter, separation, noise_size, smoothing_size, threshold, invert, percentile, preprocess,
        max_iterations, minmass,
    )  # fmt: skip
    if not parameters.isotropic and maxsize is not None:
        raise ValueError("Filtering by size is not available for anisotropic features.")
    if parameters.is_float and invert:
        image = 1 - image
    detector, scratch = _detector(parameters)
    found = detector.found(image, scratch)
    if len(found.order) == 0:
        _warn_of_nothing(*detector.brightest(scratch))
        return pd.DataFrame(columns=_columns(parameters, characterize))
    features = _table(found, parameters, characterize)
    condition = features["mass"] > parameters.minmass
    if maxsize is not None:
        condition &= _sizes(found) < maxsize
    features = features.loc[condition].copy()
    if len(features) == 0:
        warnings.warn(_NOTHING_SURVIVED, stacklevel=2)
        return features
    if topn is not None and len(features) > topn:
        mass = features["mass"].to_numpy()
        strongest = [int(np.argmax(mass))] if topn == 1 else np.argsort(mass)[-topn:].tolist()
        features = features.iloc[strongest]
    if characterize:
        features = _with_errors(features, found, parameters)
    if frame_number is not None:
        features["frame"] = int(frame_number)
    return features


_last = threading.local()


def _detector(parameters: LocateParameters) -> tuple[CentroidDetector, NDArray[np.uint8]]:
    """The detector of this thread's last image and its memory, if they fit: to make them takes as long as a frame."""
    if getattr(_last, "parameters", None) != parameters:
        _last.parameters = None
        detector = CentroidDetector(parameters, sparing=False)  # rows are named by their place among all
        _last.pair = detector, zeros_on_a_line((detector.scratch_bytes,), np.uint8)
        _last.parameters = parameters
    pair: tuple[CentroidDetector, NDArray[np.uint8]] = _last.pair
    return pair


def _warn_of_arguments(invert: bool, filter_before: bool | None, filter_after: bool | None, engine: str) -> None:
    if invert:
        warnings.warn(
            "The invert argument will be deprecated. Use a PIMS pipeline for this.",
            PendingDeprecationWarning,
            stacklevel=3,
        )
    if filter_before is not None:
        raise ValueError(
            "The filter_before argument is no longer supported as it does not improve performance. Features are "
            "filtered after refine."
        )
    if filter_after is not None:
        warnings.warn(
            "The filter_after argument has been deprecated: it is always on, unless minmass = None and maxsize = None.",
            DeprecationWarning,
            stacklevel=3,
        )
    if engine not in ("auto", "python", "numba"):
        raise ValueError("Available engines are 'python' and 'numba'")


def _parameters(
    image: NDArray[Any],
    diameter: Number,
    separation: Number | None,
    noise_size: Number,
    smoothing_size: Number | None,
    threshold: float | None,
    invert: bool,
    percentile: float,
    preprocess: bool,
    max_iterations: int,
    minmass: float | None,
) -> LocateParameters:
    height, width = _pair(diameter)
    diameter_yx = (int(height), int(width))
    smoothing = diameter_yx if smoothing_size is None else _pair(smoothing_size)
    if any(size != int(size) for size in smoothing):
        raise ValueError("Smoothing size must be an odd integer. Round up.")
    if threshold is None:
        threshold = 1 / 255.0 if image.dtype.kind == "f" else 1
    return LocateParameters(
        shape_hw=(image.shape[0], image.shape[1]),
        dtype=image.dtype.name,
        diameter=diameter_yx,
        separation=(diameter_yx[0] + 1, diameter_yx[1] + 1) if separation is None else _pair(separation),
        smoothing_size=(int(smoothing[0]), int(smoothing[1])),
        noise_size=_pair(noise_size),
        threshold=threshold,
        percentile=percentile,
        invert=invert,
        preprocess=preprocess,
        max_iterations=int(max_iterations),
        minmass=0.0 if minmass is None else float(minmass),
    )


def _pair(value: Any) -> tuple[float, float]:
    if not np.iterable(value):
        return (value, value)
    values = tuple(value)
    if len(values) != 2:
        raise ValueError("List length should have same length as image dimensions.")
    return (values[0], values[1])


def _columns(parameters: LocateParameters, characterize: bool) -> list[str]:
    if not characterize:
        return ["y", "x", "mass"]
    sizes = ["size"] if parameters.isotropic else ["size_y", "size_x"]
    return ["y", "x", "mass", *sizes, "ecc", "signal", "raw_mass"]


def _sizes(found: Found) -> NDArray[np.float64]:
    sizes: NDArray[np.float64] = found.features[found.order, Column.SIZE]
    return sizes


def _table(found: Found, parameters: LocateParameters, characterize: bool) -> pd.DataFrame:
    sources = {
        "y": Column.Y, "x": Column.X, "mass": Column.MASS, "size": Column.SIZE, "size_y": Column.SIZE,
        "size_x": Column.SIZE_X, "ecc": Column.ECC, "signal": Column.SIGNAL, "raw_mass": Column.RAW_MASS,
    }  # fmt: skip
    columns = _columns(parameters, characterize)
    values = found.features[found.order][:, [int(sources[name]) for name in columns]]
    table = pd.DataFrame(values, columns=columns)
    table["mass"] /= found.scale
    if characterize:
        table["signal"] /= found.scale
    return table


def _with_errors(features: pd.DataFrame, found: Found, parameters: LocateParameters) -> pd.DataFrame:
    """Add the static error `ep` (Savin and Doyle, Biophys. J. 88, 623, 2005), as trackpy.uncertainty has it."""
    mask = Mask.of(parameters.radius)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = found.noise / (features["raw_mass"].to_numpy() - mask.pixels * found.black)
    noise_y, noise_x = parameters.noise_size
    root_y, root_x = mask.root_sum_x2
    features = features.copy()
    if parameters.isotropic and noise_y == noise_x:
        features["ep"] = relative * noise_y * root_y
    else:
        features["ep_y"] = relative * (noise_y * root_y)
        features["ep_x"] = relative * (noise_x * root_x)
    return features


def _warn_of_nothing(brightest: int, threshold: float) -> None:
    if np.isnan(threshold):
        message = "Image is completely black."
    elif brightest <= threshold:
        message = "Image contains no local maxima."
    else:
        message = "All local maxima were in the margins."
    warnings.warn(message, UserWarning, stacklevel=3)
