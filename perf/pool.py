"""What laboratories write themselves: frames through a Queue, tiles of them to `trackpy.locate` in a Pool."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import time
from typing import Any

import numpy.typing as npt
import psutil

from perf.common import Spread

Frame = npt.NDArray[Any]
TILE, OVERLAP = 256, 32
FEWEST = 5  # frames, however slow


def pool_figures(
    images: list[Frame], settings: dict[str, Any], workers: int, seconds: float, fps: float
) -> dict[str, Any]:
    """frames/s as fast as it goes, latency (ms) at 60 % of that; frames are cut into tiles of 256 with 32 around."""
    spawn = multiprocessing.get_context("spawn")
    frames: Any = spawn.Queue(2)
    with spawn.Pool(workers, initializer=_quiet) as pool:
        _locate_frame(pool, images[0], settings)  # imports, compilation
        taken: list[float] = []
        began = time.perf_counter()
        for image in itertools.cycle(images):
            at = time.perf_counter()
            frames.put(image)
            _locate_frame(pool, frames.get(), settings)
            taken.append(time.perf_counter() - at)
            if len(taken) >= FEWEST and time.perf_counter() - began > seconds / 2:
                break
        rate = len(taken) / (time.perf_counter() - began)
        latency, cpu_ms = _paced(pool, frames, images, settings, 0.6 * rate, max(FEWEST, round(0.3 * rate * seconds)))
        memory = _memory_mib()
    frames.close()
    return {
        "frames": len(taken) + latency.count,
        "frames/s": rate,
        "p50 ms": latency.p50,
        "p99 ms": latency.p99,
        "max ms": latency.max,
        "trackers CPU ms": cpu_ms,
        "memory MiB": memory,
    }


def _paced(
    pool: Any, frames: Any, images: list[Frame], settings: dict[str, Any], fps: float, count: int
) -> tuple[Spread, float]:
    """Frames at a steady pace, one after the other: latency in ms, and CPU ms a frame of all processes."""
    delays, before, due = [], _cpu_s(), time.perf_counter()
    for n in range(count):
        due = max(due + 1 / fps, time.perf_counter())
        while (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        at = time.perf_counter()
        frames.put(images[n % len(images)])
        _locate_frame(pool, frames.get(), settings)
        delays.append((time.perf_counter() - at) * 1e3)
    return Spread.of(delays), (_cpu_s() - before) * 1e3 / count


def _locate_frame(pool: Any, image: Frame, settings: dict[str, Any]) -> int:
    """All features of a frame: tiles to the pool, those of each tile's core put together."""
    import pandas as pd

    height, width = image.shape
    jobs = []
    for top, left in itertools.product(range(0, height, TILE), range(0, width, TILE)):
        y, x = max(0, top - OVERLAP), max(0, left - OVERLAP)
        tile = image[y : min(height, top + TILE + OVERLAP), x : min(width, left + TILE + OVERLAP)]
        jobs.append((tile, y, x, top, left, settings))
    return len(pd.concat(pool.map(_locate_tile, jobs, chunksize=1)))


def _locate_tile(job: tuple[Frame, int, int, int, int, dict[str, Any]]) -> Any:
    import trackpy

    tile, y, x, top, left, settings = job
    found = trackpy.locate(tile, **settings)
    found["y"] += y
    found["x"] += x
    core = (found["y"] >= top - 0.5) & (found["y"] < top + TILE - 0.5)
    core &= (found["x"] >= left - 0.5) & (found["x"] < left + TILE - 0.5)
    return found[core]


def _quiet() -> None:
    import trackpy

    trackpy.quiet()
    logging.disable(logging.WARNING)


def _family() -> list[psutil.Process]:
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def _cpu_s() -> float:
    return sum(sum(process.cpu_times()[:2]) for process in _family())


def _memory_mib() -> float:
    return sum(process.memory_info().rss for process in _family()) / 2**20
