"""How exact positions are, beside `trackpy.locate` and the Cramér-Rao bound; writes the figures of the documentation.

    python -m perf.accuracy                       a minute; figures into docs/images
    python -m perf.accuracy --frames 4 --out /tmp --json

Spots are Gaussian (sigma 3.8, background 100, Poisson noise), diameter 21. The bound for a position in one direction,
with the sums over pixels of the mean image mu: 1 / sqrt(sum((d mu / d x)^2 / mu)) (Ober, Ram and Ward, Biophys. J. 86,
1185, 2004). Particles are found again within 3 pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import trackpy

import engine
from engine.rows import RESULT_META, ROW
from engine.workers.centroids import CentroidDetector
from engine.workers.layout import zeros_on_a_line
from engine.workers.parameters import LocateParameters
from perf.common import arguments, machine, report, say

SIGMA, BACKGROUND, DIAMETER, SIZE = 3.8, 100.0, 21, 640
TILE = 128
ALONE = "each tile alone"
NEAR = 3.0
Points = npt.NDArray[np.float64]


def image_of(places: Points, peak: float, rng: np.random.Generator, size: int = SIZE) -> npt.NDArray[np.uint16]:
    """Spots at places (y, x)."""
    mean = np.full((size, size), BACKGROUND)
    reach = 24
    for y, x in places:
        top, left = max(0, int(y) - reach), max(0, int(x) - reach)
        bottom, right = min(size, int(y) + reach + 1), min(size, int(x) + reach + 1)
        yy, xx = np.mgrid[top:bottom, left:right]
        mean[top:bottom, left:right] += peak * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / (2 * SIGMA**2))
    return rng.poisson(mean).clip(0, 65535).astype(np.uint16)


def apart(rng: np.random.Generator, count: int, distance: float, margin: float) -> Points:
    """Places in the frame, none nearer to another than a distance."""
    places: list[Points] = []
    for _ in range(60 * count):
        place = rng.uniform(margin, SIZE - 1 - margin, 2)
        if all(np.hypot(*(place - other)) >= distance for other in places):
            places.append(place)
        if len(places) == count:
            break
    return np.array(places)


def bound(peak: float) -> float:
    """The Cramér-Rao bound of one coordinate, pixels; mean over sub-pixel places."""
    y, x = np.mgrid[-24:25, -24:25].astype(float)
    found = []
    for shift in (0.0, 0.25, 0.5):
        spot = peak * np.exp(-((y - shift) ** 2 + (x - shift) ** 2) / (2 * SIGMA**2))
        slope = spot * (x - shift) / SIGMA**2
        found.append(1 / np.sqrt(np.sum(slope**2 / (spot + BACKGROUND))))
    return float(np.mean(found))


def matched(found: Any, truth: Points) -> tuple[Points, Points, int]:
    """Errors (y, x) of the places that were found, those places, and how many features are none of them."""
    at = found if isinstance(found, np.ndarray) else found[["y", "x"]].to_numpy(float)
    if not len(at):
        return np.zeros((0, 2)), np.zeros((0, 2)), 0
    d2 = ((truth[:, None] - at[None]) ** 2).sum(axis=2)
    nearest = d2.argmin(axis=1)
    hit = d2[np.arange(len(truth)), nearest] < NEAR**2
    return at[nearest[hit]] - truth[hit], truth[hit], len(at) - len(np.unique(nearest[hit]))


WAYS: dict[str, Any] = {
    "trackpy": trackpy.locate,
    "ringtrack": engine.locate,
}


def rms(errors: Points) -> float:
    return float(np.sqrt((errors**2).mean())) if len(errors) else float("nan")


def against_bound(frames: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Error over signal, far from edges and from each other."""
    rows = []
    for peak in (100, 200, 400, 800, 1900, 3000, 8000):
        images = [(places, image_of(places, peak, rng)) for places in (apart(rng, 100, 44, 30) for _ in range(frames))]
        row: dict[str, Any] = {"what": "error px", "at": f"peak {peak}", "bound px": bound(peak)}
        for name, locate in WAYS.items():
            row[name] = rms(
                np.concatenate(
                    [matched(locate(i, DIAMETER, minmass=12 * peak, separation=18), p)[0] for p, i in images]
                )
            )
        rows.append(row)
    return rows


def by_phase(frames: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Mean error in x over the decimal of x."""
    images = [(p, image_of(p, 1900, rng)) for p in (apart(rng, 100, 44, 30) for _ in range(3 * frames))]
    found = {
        name: [matched(locate(i, DIAMETER, minmass=20_000, separation=18), p) for p, i in images]
        for name, locate in WAYS.items()
    }
    rows = []
    for low in np.arange(0, 1, 0.1):
        row: dict[str, Any] = {"what": "bias px", "at": f"decimal {low + 0.05:.2f}", "bound px": float("nan")}
        for name, parts in found.items():
            errors, places = np.concatenate([e for e, _, _ in parts]), np.concatenate([p for _, p, _ in parts])
            here = (places[:, 1] % 1 >= low) & (places[:, 1] % 1 < low + 0.1)
            row[name] = float(errors[here, 1].mean()) if here.any() else float("nan")
        rows.append(row)
    return rows


def at_edges(frames: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Error in the direction of the nearest edge."""
    rows = []
    for distance in (10.5, 12.0, 15.0, 20.0, 30.0):
        errors: dict[str, list[Points]] = {name: [] for name in WAYS}
        for _ in range(2 * frames):
            along = np.arange(40, SIZE - 40, 44.0)
            places = np.column_stack([along + rng.uniform(-5, 5, along.size), np.full(along.size, distance)])
            picture = image_of(places, 1900, rng)
            for name, locate in WAYS.items():
                errors[name].append(matched(locate(picture, DIAMETER, minmass=10_000, separation=18), places)[0])
        row: dict[str, Any] = {"what": "edge error px", "at": f"{distance:g} px away", "bound px": bound(1900)}
        rows.append(row | {name: rms(np.concatenate(parts)[:, 1:]) for name, parts in errors.items()})
    return rows


class InTiles:
    """Features of a frame that is cut into squares, as the workers of a run find them."""

    def __init__(self, minmass: float) -> None:
        parameters = LocateParameters(
            shape_hw=(SIZE, SIZE), dtype="uint16", diameter=(DIAMETER, DIAMETER), separation=(18.0, 18.0),
            smoothing_size=(DIAMETER, DIAMETER), percentile=64.0,
        )  # fmt: skip
        self._detector = CentroidDetector(replace(parameters, minmass=minmass), (TILE, TILE))
        self._scratch = zeros_on_a_line((self._detector.scratch_bytes,), np.uint8)
        self._rows, self._meta = np.zeros(1 << 12, ROW), np.zeros(1, RESULT_META)

    def __call__(self, image: npt.NDArray[np.uint16]) -> Any:
        for number, step in enumerate(self._detector.steps):
            for tile in range(1 if step.whole else self._detector.tiles):
                self._detector.run(number, tile, image, self._scratch, self._rows, self._meta)
        return self._rows[: int(self._meta["rows"][0])]


def each_tile_alone(image: npt.NDArray[np.uint16], minmass: float) -> Any:
    """What programs do that know nothing of their neighbours: trackpy in every square, put together."""
    parts = []
    for y in range(0, SIZE, TILE):
        for x in range(0, SIZE, TILE):
            found = trackpy.locate(image[y : y + TILE, x : x + TILE], DIAMETER, minmass=minmass, separation=18)
            parts.append(found[["y", "x"]].to_numpy(float) + (y, x))
    return np.concatenate(parts)


def at_seams(frames: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Particles beside the seams of squares of 128 pixels: found, and error across the seam."""
    rows = []
    minmass = 10_000.0
    in_tiles = InTiles(minmass)
    for distance in (0.0, 2.0, 5.0, 10.0, 20.0):
        pictures = []
        for _ in range(frames):
            seams, along = np.arange(TILE, SIZE, TILE), np.arange(40, SIZE - 40, 44.0)
            places = np.array([(y + rng.uniform(-5, 5), x + distance) for x in seams for y in along])
            pictures.append((places, image_of(places, 1900, rng)))
        ways: dict[str, Callable[[Any], Points]] = {
            "trackpy": lambda i: trackpy.locate(i, DIAMETER, minmass=minmass, separation=18)[["y", "x"]].to_numpy(
                float
            ),
            "ringtrack": lambda i: np.column_stack([in_tiles(i)["y"], in_tiles(i)["x"]]),
            ALONE: lambda i: each_tile_alone(i, minmass),
        }
        at = f"{distance:g} px from a seam"
        error: dict[str, Any] = {"what": "seam error px", "at": at, "bound px": bound(1900)}
        found: dict[str, Any] = {"what": "seam found %", "at": at, "bound px": float("nan")}
        for name, way in ways.items():
            parts = [matched(way(picture), places)[0] for places, picture in pictures]
            error[name] = rms(np.concatenate(parts)[:, 1:])
            found[name] = 100 * sum(map(len, parts)) / sum(len(places) for places, _ in pictures)
        rows += [error, found]
    return rows


def over_density(frames: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Share of particles found, and features that are none, over how many there are."""
    rows = []
    for count in (100, 200, 400, 800):
        recall: dict[str, Any] = {
            "what": "found %",
            "at": f"{1e6 * count / SIZE**2:.0f} a megapixel",
            "bound px": float("nan"),
        }
        false = recall | {"what": "false %"}
        pictures = [(p, image_of(p, 1900, rng)) for p in (apart(rng, count, 12, 15) for _ in range(frames))]
        for name, locate in WAYS.items():
            parts = [matched(locate(i, DIAMETER, minmass=10_000, separation=18), p) for p, i in pictures]
            there = sum(len(p) for p, _ in pictures)
            recall[name] = 100 * sum(len(e) for e, _, _ in parts) / there
            false[name] = 100 * sum(n for _, _, n in parts) / there
        rows += [recall, false]
    return rows


def draw(rows: list[dict[str, Any]], folder: Path) -> Path:
    """One figure of six parts."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    parts = [
        ("error px", "error and bound (pixels)"), ("bias px", "mean error in x (pixels)"),
        ("edge error px", "error towards the edge (pixels)"), ("found %", "particles found (%)"),
        ("seam error px", "error across a seam of tiles (pixels)"), ("seam found %", "found beside a seam (%)"),
    ]  # fmt: skip
    figure, axes = plt.subplots(3, 2, figsize=(10, 9.5), dpi=100, layout="constrained")
    for (what, title), ax in zip(parts, axes.flat):
        here = [row for row in rows if row["what"] == what]
        labels = [row["at"] for row in here]
        ax.plot(labels, [row["trackpy"] for row in here], "o-", color="tab:gray", ms=8, label="trackpy")
        ax.plot(labels, [row["ringtrack"] for row in here], "x--", color="tab:orange", label="ringtrack")
        if ALONE in here[0]:
            ax.plot(labels, [row[ALONE] for row in here], "s:", color="tab:red", label=ALONE)
        if what == "error px":
            ax.plot(labels, [row["bound px"] for row in here], "k:", label="Cramér-Rao bound")
            ax.set_yscale("log")
        ax.set_title(title, fontsize=10)
        ax.tick_params(axis="x", labelrotation=30, labelsize=8)
        ax.legend(fontsize=8)
    figure.savefig(folder / "accuracy.png")
    plt.close(figure)
    return folder / "accuracy.png"


def main() -> None:
    """Measure, draw and print."""
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int, default=4, help="of each kind")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs" / "images")
    options = parser.parse_args()
    trackpy.quiet()
    machine_was, rng, rows = machine(), np.random.default_rng(1), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in (against_bound, by_phase, at_edges, at_seams, over_density):
            say(part.__doc__ or "")
            rows += part(options.frames, rng)
    say(str(draw(rows, options.out)))
    rows = [row | {ALONE: row.get(ALONE, float("nan"))} for row in rows]
    report("Accuracy", rows, machine_was, as_json=options.json)


if __name__ == "__main__":
    main()
