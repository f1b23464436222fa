"""Linking on one core: ours beside `trackpy.link`, the same particles in the same run.

    python -m perf.link                      a minute
    python -m perf.link --particles 1000 --frames 20 --json

Particles diffuse in a square whose size keeps their density; nine in ten are seen in a frame. *ours* is what the linker
process does with a frame; `engine.link` adds the DataFrame. trackpy gives up groups of more than 30 (a dash).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import trackpy

import engine
from engine.rows import ROW
from engine.workers.link_state import LinkState
from perf.common import arguments, machine, report, say

MEMORY = 3


def walk(particles: int, frames: int, spacing: float, seed: int = 0) -> list[npt.NDArray[np.float64]]:
    """Positions (y, x) of each frame: steps of 1 pixel, particles `spacing` pixels apart in the mean."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(0, spacing * particles**0.5, (particles, 2))
    seen = []
    for _ in range(frames):
        positions = positions + rng.normal(0, 1.0, positions.shape)
        seen.append(positions[rng.random(particles) < 0.9])
    return seen


def ours(
    frames: list[npt.NDArray[np.float64]], search_range: float, particles: int
) -> tuple[list[float], dict[str, int]]:
    """Milliseconds of every frame, and the counters of the state at the end."""
    state = LinkState(search_range, MEMORY, particles)
    state.warm()
    copies, times = np.zeros((2, state.bytes), np.uint8), []
    for number, points in enumerate(frames):
        rows = np.zeros(len(points), ROW)
        rows["y"], rows["x"] = points.T
        old, new = copies[number % 2], copies[1 - number % 2]
        began = time.perf_counter()
        state.advance(old, new, frame_number=number, new_sequence=False, t_source_ns=number * 10**7, rows=rows)
        times.append((time.perf_counter() - began) * 1e3)
    return times[1:], state.statistics(copies[len(frames) % 2])


def by_frame(link: Any, features: pd.DataFrame, search_range: float, frames: int) -> float:
    """Milliseconds a frame of a function that links a DataFrame; NaN if it gives up."""
    began = time.perf_counter()
    try:
        link(features, search_range, memory=MEMORY)
    except trackpy.SubnetOversizeException:
        return float("nan")
    return (time.perf_counter() - began) * 1e3 / frames


def measure(particles: int, spacing: float, search_range: float, frames: int) -> dict[str, Any]:
    """One density: a row of the table."""
    points = walk(particles, frames, spacing)
    table = pd.concat([pd.DataFrame({"y": p[:, 0], "x": p[:, 1], "frame": n}) for n, p in enumerate(points)])
    table = table.reset_index(drop=True)
    times, counters = ours(points, search_range, particles)
    theirs = by_frame(trackpy.link, table, search_range, frames)
    median = float(np.median(times))
    return {
        "particles": particles,
        "spacing px": spacing,
        "search range px": search_range,
        "trackpy ms": theirs,
        "engine.link ms": by_frame(engine.link, table, search_range, frames),
        "ours ms": median,
        "ours max ms": max(times),
        "x": theirs / median,
        "longest search": counters["longest_search"],
    }


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--particles", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--frames", type=int, default=50)
    options = parser.parse_args()
    trackpy.quiet()
    machine_was, rows = machine(), []
    for particles in options.particles:
        for spacing, search_range in ((64.0, 10.0), (10.0, 4.0), (7.0, 8.0)):
            say(f"{particles} particles, {spacing:g} px apart, range {search_range:g} px")
            rows.append(measure(particles, spacing, search_range, options.frames))
    report("Linking, a frame", rows, machine_was, facts={"memory": MEMORY}, as_json=options.json)


if __name__ == "__main__":
    main()
