"""Detection on one core: ours in both precisions beside `trackpy.locate`, the same frames in the same run.

    python -m perf.locate                     the frame of the documentation and others, some minutes
    python -m perf.locate --sizes 512 --repeats 5 --json

A frame is uint16, a Poisson background of 100 with Gaussian spots (sigma 3.8, peaks of 800 to 3000 counts), diameter
21, separation 18, percentile 14. `minmass` 5000 keeps the real spots, 100 the noise as well. All columns are computed.

*double* and *single* are the units of work of a tracker, with one whole-frame tile; `engine.locate` adds the DataFrame.
*correction* is what dark, flat and bad pixels add. All take turns of a fifth of a second or one frame, whatever is
longer, so that a machine that is busy for a while is busy for all, and nobody's kernels are colder than in a run;
figures are medians. *copy* is one pass of memory, the floor.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt
import trackpy

import engine
from engine.rows import RESULT_META, ROW
from engine.workers.centroids import CentroidDetector
from engine.workers.correction import Correction
from engine.workers.detector import Detector
from engine.workers.layout import zeros_on_a_line
from engine.workers.parameters import LocateParameters
from perf.common import arguments, machine, report, say

Frame = npt.NDArray[np.uint16]
DIAMETER, SEPARATION, PERCENTILE, SIGMA = 21, 18.0, 14.0, 3.8
TURN_S = 0.2


def frame(size: int, particles: int, seed: int = 0) -> Frame:
    """Spots at random places on a background with Poisson noise."""
    rng = np.random.default_rng(seed)
    image = np.full((size, size), 100.0)
    reach = 20
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    for at_y, at_x in rng.uniform(reach + 1, size - reach - 2, (particles, 2)):
        row, column = int(at_y), int(at_x)
        spot = np.exp(-((y - at_y + row) ** 2 + (x - at_x + column) ** 2) / (2 * SIGMA**2))
        image[row - reach : row + reach + 1, column - reach : column + reach + 1] += rng.uniform(800, 3000) * spot
    return rng.poisson(image).clip(0, 65535).astype(np.uint16)


class Ours:
    """A detector with its memory, as a tracker has it; notes what each step takes (ms, by `clock`, which gives s)."""

    def __init__(
        self, images: Sequence[Frame], detector: Detector, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """`images` are taken in turn: what was just tracked is still in the cache, a frame of a camera is not."""
        self._images, self._detector, self._clock = cycle(images), detector, clock
        self._detector.warm()
        self._scratch = zeros_on_a_line((self._detector.scratch_bytes,), np.uint8)
        self._rows = np.zeros(1 << 17, ROW)
        self._meta = np.zeros(1, RESULT_META)
        self.steps: dict[str, list[float]] = {step.name: [] for step in self._detector.steps}

    def __call__(self) -> int:
        image = next(self._images)
        for number, step in enumerate(self._detector.steps):
            began = self._clock()
            for tile in range(1 if step.whole else self._detector.tiles):
                self._detector.run(number, tile, image, self._scratch, self._rows, self._meta)
            self.steps[step.name].append((self._clock() - began) * 1e3)
        return int(self._meta["rows"][0])


def whole_frame(image: Frame, minmass: float, precision: str) -> CentroidDetector:
    """A detector with one tile."""
    parameters = LocateParameters(
        shape_hw=(image.shape[0], image.shape[1]),
        dtype="uint16",
        diameter=(DIAMETER, DIAMETER),
        separation=(SEPARATION, SEPARATION),
        smoothing_size=(DIAMETER, DIAMETER),
        percentile=PERCENTILE,
    )
    return CentroidDetector(replace(parameters, minmass=minmass, precision=precision))


def correcting(image: Frame) -> Callable[[], Any]:
    """What dark, flat and 200 bad pixels cost in front of detection."""
    rng = np.random.default_rng(3)
    bad = np.zeros(image.shape, bool)
    bad.ravel()[rng.choice(image.size, 200, replace=False)] = True
    dark, flat = rng.normal(10, 1, image.shape), rng.normal(20_000, 50, image.shape)
    correction = Correction.of((image.shape[0], image.shape[1]), dark=dark, flat=flat, bad_pixels=bad)
    out, whole = np.empty_like(image), (0, image.shape[0], 0, image.shape[1])
    return lambda: correction.apply(image, whole, out)


def in_turns(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Times of every way in ms, one after another and over again, each for `TURN_S`; the first round does not count."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            ended = began = time.perf_counter()
            until = began + TURN_S
            while ended < until:
                began = ended
                way()
                ended = time.perf_counter()
                if turn:
                    times[name].append((ended - began) * 1e3)
    return times


def measure(size: int, particles: int, minmass: float, repeats: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One frame: the row of the table, and what the steps took."""
    image, target = frame(size, particles), np.empty((size, size), np.uint16)
    ours = {precision: Ours([image], whole_frame(image, minmass, precision)) for precision in ("double", "single")}
    settings: Any = dict(minmass=minmass, separation=SEPARATION, percentile=PERCENTILE)
    ways: dict[str, Callable[[], Any]] = {
        "trackpy": lambda: trackpy.locate(image, DIAMETER, **settings),
        "engine.locate": lambda: engine.locate(image, DIAMETER, **settings),
        **ours,
        "copy": lambda: np.copyto(target, image),
        "correction": correcting(image),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = in_turns(ways, repeats)
    median = {name: float(np.median(values)) for name, values in times.items()}
    row = {
        "pixels": f"{size} x {size}",
        "particles": particles,
        "minmass": minmass,
        "features": ours["double"](),
        "trackpy ms": median["trackpy"],
        "engine.locate ms": median["engine.locate"],
        "double ms": median["double"],
        "single ms": median["single"],
        "double x": median["trackpy"] / median["double"],
        "single x": median["trackpy"] / median["single"],
        "correction ms": median["correction"],
        "copy ms": median["copy"],
    }
    steps = [
        {
            "pixels": f"{size} x {size}",
            "minmass": minmass,
            "precision": precision,
            **{f"{name} ms": float(np.median(values[1:])) for name, values in way.steps.items()},
        }
        for precision, way in ours.items()
    ]
    return row, steps


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096], help="pixels of a side")
    parser.add_argument("--particles", type=int, nargs="+", help="instead of 0, one for 4194 pixels, ten times that")
    parser.add_argument("--minmass", type=float, nargs="+", default=[5000.0, 100.0])
    parser.add_argument("--repeats", type=int, default=9, help="of each way on each frame")
    options = parser.parse_args()
    machine_was, rows, steps = machine(), [], []
    for size in options.sizes:
        usual = round(size * size / 4194)
        for particles in options.particles or (0, usual, 10 * usual):
            for minmass in options.minmass:
                say(f"{size} x {size}, {particles} particles, minmass {minmass:g}")
                row, of_steps = measure(size, particles, minmass, options.repeats)
                rows.append(row)
                steps.extend(of_steps if particles == usual or options.particles else [])
    report("Detection on one core", rows, machine_was, tables={"Steps of a frame": steps}, as_json=options.json)


if __name__ == "__main__":
    main()
