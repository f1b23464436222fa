"""Advice on settings from a few frames: what is noise, how large features are, how far they move.

All of it is a proposal, to be looked at in the picture of `ringtrack preview`. The rules:

- *minmass*: masses are cut where two classes of their logarithms differ most (Otsu, IEEE Trans. Syst. Man Cybern. 9,
  62, 1979), if there is a gap; features above are called *real*.
- *diameter*: 5.5 standard deviations of a spot (2 % of its light lies outside), from the half width at half height of
  the mean picture of real features.
- *percentile*: the share of the bright pixels that are fainter than the faintest real maximum, with a margin; not more
  than trackpy's default of 64.
- *search_range*: one and a half times what 99 of 100 real features move, at most half the mean distance to the nearest
  neighbour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.experiment import Experiment, Tracking
from engine.rows import RESULT_META, ROW
from engine.workers.centroids import CentroidDetector
from engine.workers.correction import Correction
from engine.workers.link_state import LinkState
from engine.workers.parameters import LocateParameters

Frame = NDArray[Any]
SPOT = 5.5  # diameter in standard deviations
FEWEST = 5  # features, below which nothing is proposed
CROWDED = 1.25  # a separation of so many diameters drops neighbours that can well be told apart
GAP = 3.0  # real features have so many times the mass of noise, at least


@dataclass(frozen=True)
class Advice:
    """What was found in the first frame, and what is proposed; None: there is nothing to go by."""

    frame: Frame  # corrected
    features: NDArray[Any]  # all (ROW), with minmass 0 and no other limit
    kept: NDArray[np.bool_]  # those that pass the settings' filters
    real: NDArray[np.bool_]  # those above the cut
    cut: float | None  # minmass
    diameter: int | None
    percentile: float | None
    search_range: float | None
    neighbour_px: float  # mean distance of real features to their nearest neighbour; NaN for fewer than two
    subpixel_bias: float  # 0: decimals of x and y are even; 1: all features at the same decimals
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """The TOML lines of what is proposed."""
        tracking = [
            f"{name} = {value}"
            for name, value in (("diameter", self.diameter), ("minmass", self.cut), ("percentile", self.percentile))
            if value is not None
        ]
        linking = [f"search_range = {self.search_range}"] if self.search_range is not None else []
        return (["[tracking]", *tracking] if tracking else []) + (["[linking]", *linking] if linking else [])


def advise(experiment: Experiment, frames: Sequence[Frame]) -> Advice:
    """Look at the first frame, and at how features move through the others."""
    tracking = experiment.tracking
    correction = Correction.from_settings(experiment.correction, experiment.camera)
    images = [correction.corrected(frame) if correction else frame for frame in frames]
    parameters = LocateParameters.from_settings(tracking, experiment.camera)
    found, levels = _features(parameters, images[0])
    cut = _cut(found["mass"])
    real = found["mass"] > (cut if cut is not None else tracking.minmass)
    kept = _passing(experiment, found)
    neighbour = _neighbour_distance(found[real])
    steps = _steps(parameters, images, cut if cut is not None else tracking.minmass, neighbour)
    search_range = None
    if len(steps) >= FEWEST and not math.isnan(neighbour):
        wanted = 1.5 * float(np.percentile(steps, 99))
        search_range = max(1.0, _tenths(min(wanted, neighbour / 2)))
    enough = int(real.sum()) >= FEWEST
    advice = Advice(
        frame=images[0],
        features=found,
        kept=kept,
        real=real,
        cut=cut,
        diameter=_diameter(images[0], found[real], tracking.invert, neighbour) if enough else None,
        percentile=_percentile(levels, found[real]) if enough else None,
        search_range=search_range,
        neighbour_px=neighbour,
        subpixel_bias=_bias(found[real]) if enough else float("nan"),
        warnings=(),
    )
    return replace(advice, warnings=tuple(_warnings(experiment, advice)))


def _features(parameters: LocateParameters, image: Frame) -> tuple[NDArray[Any], Frame]:
    """All features (rows) and the levels in which they were found."""
    everything = replace(
        parameters, minmass=0.0, maxmass=0.0, max_ecc=0.0, minsize=0.0, maxsize=0.0, min_signal=0.0, precision="double"
    )
    detector = CentroidDetector(everything)
    scratch = np.zeros(detector.scratch_bytes, np.uint8)
    rows, meta = np.zeros(1 << 17, ROW), np.zeros(1, RESULT_META)
    for number in range(len(detector.steps)):
        detector.run(number, 0, image, scratch, rows, meta)
    return rows[: int(meta["rows"][0])], detector.levels_of(scratch)


def _passing(experiment: Experiment, found: NDArray[Any]) -> NDArray[np.bool_]:
    keep: NDArray[np.bool_] = found["mass"] > experiment.tracking.minmass
    for _, within in _limits(experiment.tracking, found):
        keep &= within
    return keep


def _limits(tracking: Tracking, found: NDArray[Any]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each limit beside minmass that is set, and which features are within it."""
    for name, column, above in (
        ("maxmass", "mass", False), ("max_ecc", "ecc", False), ("minsize", "size", True), ("maxsize", "size", False),
        ("min_signal", "signal", True),
    ):  # fmt: skip
        if limit := getattr(tracking, name):
            yield name, found[column] > limit if above else found[column] < limit


def _cut(masses: NDArray[Any]) -> float | None:
    """Between noise and real features; None where there is no gap."""
    logs = np.sort(np.log(masses[masses > 0].astype(np.float64)))
    if len(logs) < 2 * FEWEST:
        return None
    below = np.arange(1, len(logs))
    sums = np.cumsum(logs)
    low, high = sums[:-1] / below, (sums[-1] - sums[:-1]) / (len(logs) - below)
    between = below * (len(logs) - below) * (high - low) ** 2
    at = int(np.argmax(between))
    lower, upper = logs[: at + 1], logs[at + 1 :]
    if len(upper) < FEWEST or np.median(upper) - np.median(lower) < math.log(GAP):
        return None
    middle = (np.percentile(lower, 99.5) + np.percentile(upper, 0.5)) / 2
    return float(f"{math.exp(middle):.2g}")


def _diameter(image: Frame, real: NDArray[Any], invert: bool, neighbour: float) -> int | None:
    """Odd; from the half width at half height of the mean picture of real features."""
    reach = int(min(40, neighbour / 2 if not math.isnan(neighbour) else 40, (min(image.shape) - 3) / 2))
    y, x = np.rint(real["y"]).astype(int), np.rint(real["x"]).astype(int)
    height, width = image.shape
    inside = (y >= reach) & (x >= reach) & (y < height - reach) & (x < width - reach)
    patches = [image[r - reach : r + reach + 1, c - reach : c + reach + 1] for r, c in zip(y[inside], x[inside])][:300]
    if len(patches) < FEWEST or reach < 3:
        return None
    mean = np.mean(np.stack(patches).astype(np.float64), axis=0) * (-1 if invert else 1)
    radius = np.rint(np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])).astype(int)
    profile = np.bincount(radius.ravel(), mean.ravel()) / np.bincount(radius.ravel())
    profile = profile[: reach + 1] - profile[: reach + 1].min()
    half = int(np.argmax(profile < profile[0] / 2))
    if half == 0:
        return None
    above, below = profile[half - 1], profile[half]
    width_px = half - 1 + (above - profile[0] / 2) / (above - below)
    return _odd(SPOT * width_px / math.sqrt(2 * math.log(2)))


def _tenths(value: float) -> float:
    """Rounded down: a limit that is proposed is kept."""
    return math.floor(10 * value) / 10


def _odd(size: float) -> int:
    return max(3, 2 * round((size - 1) / 2) + 1)


def _percentile(levels: Frame, real: NDArray[Any]) -> float:
    y, x = np.rint(real["y"]).astype(int), np.rint(real["x"]).astype(int)
    bright = levels[levels > 0]
    faintest = float(np.percentile(levels[y, x], 1))
    share = 100.0 * float(np.count_nonzero(bright < faintest)) / max(1, bright.size)
    return float(max(0, min(64, math.floor(share - 10))))


def _neighbour_distance(real: NDArray[Any]) -> float:
    if len(real) < 2:
        return float("nan")
    places = np.column_stack([real["y"], real["x"]])
    nearest = []
    for start in range(0, len(places), 512):
        d2 = ((places[start : start + 512, None] - places[None]) ** 2).sum(axis=2)
        d2[np.arange(len(d2)), start + np.arange(len(d2))] = np.inf
        nearest.append(np.sqrt(d2.min(axis=1)))
    return float(np.concatenate(nearest).mean())


def _steps(
    parameters: LocateParameters, images: Sequence[Frame], minmass: float, neighbour: float
) -> NDArray[np.float64]:
    """How far features move from frame to frame, linked as far as half the distance to a neighbour."""
    if len(images) < 2 or math.isnan(neighbour):
        return np.zeros(0)
    state = LinkState(neighbour / 2, 0, 1 << 17)
    copies = np.zeros((2, state.bytes), np.uint8)
    steps = []
    for number, image in enumerate(images):
        rows, _ = _features(parameters, image)
        rows = rows[rows["mass"] > minmass].copy()
        state.advance(
            copies[number % 2], copies[1 - number % 2], frame_number=number, new_sequence=False,
            t_source_ns=number * 10**9, rows=rows,
        )  # fmt: skip
        steps.append(np.hypot(rows["vx"], rows["vy"]))
    moved = np.concatenate(steps).astype(np.float64)
    return moved[np.isfinite(moved)]


def _bias(real: NDArray[Any]) -> float:
    """Length of the mean vector of the decimals, each taken as an angle; about 1 / sqrt(n) for even ones."""
    return max(float(abs(np.exp(2j * np.pi * real[axis]).mean())) for axis in "yx")


def _why_nothing(tracking: Tracking, found: NDArray[Any], cut: float | None) -> str:
    """Why no feature passes, and what to do."""
    if not len(found):
        return "nothing is found in this picture, whatever the limits. Look at tracking.diameter, percentile and invert"
    heavy = found["mass"] > tracking.minmass
    if not heavy.any():
        heaviest = float(found["mass"].max())
        wanted = cut if cut is not None else float(f"{heaviest / 2:.2g}")
        return (
            f"no feature passes tracking.minmass = {tracking.minmass:g}; the heaviest of {len(found)} has a mass of "
            f"{heaviest:.3g}. Try {wanted:g}"
        )
    drops = {name: int(np.count_nonzero(heavy & ~within)) for name, within in _limits(tracking, found)}
    most = max(drops, key=lambda name: drops[name])
    return (
        f"no feature passes the limits; of {int(heavy.sum())} heavier than tracking.minmass, tracking.{most} = "
        f"{getattr(tracking, most):g} drops {drops[most]}. 0 is no limit"
    )


def _stands_out(image: Frame, diameter: int) -> tuple[float, float]:
    """How far the brightest and the darkest spots are from what is around them, twice a particle wide.

    At the edge of something large both are alike, so a field stop or a mask does not count.
    """
    smooth = _box_means(image.astype(np.float64), diameter // 6)
    dark, bright = np.percentile(smooth - _box_means(smooth, diameter), (0.1, 99.9))
    return float(bright), float(-dark)


def _box_means(image: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Means over squares of 2 * reach + 1 pixels; the edge pixels go on outside."""
    side = 2 * reach + 1
    for _ in range(2):  # over rows, then, transposed, over columns
        padded = np.pad(image, ((reach + 1, reach), (0, 0)), mode="edge")
        sums = np.cumsum(padded, axis=0)
        image = ((sums[side:] - sums[:-side]) / side).T
    return image


def _warnings(experiment: Experiment, advice: Advice) -> list[str]:
    told, tracking = [], experiment.tracking
    found, kept, real, cut = advice.features, advice.kept, advice.real, advice.cut
    if not kept.any():
        told.append(_why_nothing(tracking, found, cut))
    elif cut is None and len(found) >= 2 * FEWEST:
        told.append("the masses show no gap, so they do not tell noise from particles. Look at the picture")
    bright, dark = _stands_out(advice.frame, tracking.diameter)
    wanted, other = (dark, bright) if tracking.invert else (bright, dark)
    if other > 2 * wanted:
        one, setting = ("bright", "false") if tracking.invert else ("dark", "true")
        told.append(
            f"what stands out of this picture seems to be {one}. If your particles are, set tracking.invert = {setting}"
        )
    if tracking.separation > CROWDED * (tracking.diameter + 1):
        told.append(
            f"tracking.separation = {tracking.separation:g} is far above tracking.diameter = {tracking.diameter}: of "
            f"two features closer than that the lighter one is dropped. trackpy's default is {tracking.diameter + 1}"
        )
    long = int(np.count_nonzero(found["ecc"][real] >= tracking.max_ecc)) if tracking.max_ecc else 0
    if 2 * long > int(real.sum()):
        told.append(
            f"tracking.max_ecc = {tracking.max_ecc:g} drops {long} of {int(real.sum())} features that seem real. "
            "0 is no limit"
        )
    if cut is not None and kept.any():
        noise = int(np.count_nonzero(kept & (found["mass"] <= cut)))
        if 2 * noise > int(kept.sum()):
            told.append(
                f"most features are noise: {noise} of {int(kept.sum())} lie below the gap in the masses. "
                f"Try tracking.minmass = {cut:g}"
            )
    reach, neighbour = experiment.linking.search_range, advice.neighbour_px
    if not math.isnan(neighbour) and reach > neighbour / 2:
        told.append(
            f"linking.search_range = {reach:g} is more than half the mean distance to the nearest neighbour "
            f"({neighbour:.1f} px): particles will be taken for each other. Try {_tenths(neighbour / 2):g} or less"
        )
    return told
