"""How tracking grows with workers, particles and pixels, and what a model says of machines with more cores.

    python -m perf.scaling                 a minute or two
    python -m perf.scaling --sizes 512 --repeats 3 --json

*measured*: units of work of a frame, timed one by one on one core with the tiles that a run of so many workers uses;
*parallel* are those of tiles, *serial* the two of the whole frame (threshold and finish; all, where a frame is one
unit). With more workers than one, so many processes track frames of their own at the same time: their rate together.

*model*, for 8, 16 and 32 cores: NOT measured. One frame at a time takes serial + parallel / workers; as many frames
are in work as there are workers, so the rate is bounded by the sum of the work, workers / (serial + parallel), and by
what is serial for the whole run: the receiver's copy and the linker (`--receiver-ms`, `--linker-ms`), one process each.
It leaves out that cores share memory and caches.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from typing import Any

import numpy as np

from engine.rows import RESULT_META, ROW
from engine.workers.centroids import CentroidDetector
from engine.workers.parameters import LocateParameters
from engine.workers.tiling import choose_tile
from perf.common import arguments, machine, report, say
from perf.locate import DIAMETER, PERCENTILE, SEPARATION, frame


def detector_for(size: int, workers: int, minmass: float = 5000.0) -> CentroidDetector:
    """As a run of so many workers has it."""
    parameters = LocateParameters(
        shape_hw=(size, size),
        dtype="uint16",
        diameter=(DIAMETER, DIAMETER),
        separation=(SEPARATION, SEPARATION),
        smoothing_size=(DIAMETER, DIAMETER),
        percentile=PERCENTILE,
        minmass=minmass,
    )
    return CentroidDetector(parameters, choose_tile((size, size), workers))


def units(size: int, particles: int, workers: int, repeats: int) -> tuple[float, float]:
    """Median ms of a frame's serial units and of its parallel ones, on one core."""
    image, detector = frame(size, particles), detector_for(size, workers)
    detector.warm()
    scratch = np.zeros(detector.scratch_bytes, np.uint8)
    rows, meta = np.zeros(1 << 17, ROW), np.zeros(1, RESULT_META)
    serial, parallel = [], []
    for _ in range(repeats + 1):
        took = {True: 0.0, False: 0.0}
        for number, step in enumerate(detector.steps):
            began = time.perf_counter()
            for tile in range(1 if step.whole else detector.tiles):
                detector.run(number, tile, image, scratch, rows, meta)
            took[step.whole or detector.tiles == 1] += (time.perf_counter() - began) * 1e3
        serial.append(took[True])
        parallel.append(took[False])
    return float(np.median(serial[1:])), float(np.median(parallel[1:]))


def together(size: int, particles: int, workers: int, seconds: float) -> float:
    """Frames a second of so many processes, each with frames of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers) as pool:
        pool.starmap(_track, [(size, particles, 0.2)] * workers)
        return float(sum(pool.starmap(_track, [(size, particles, seconds)] * workers)))


def _track(size: int, particles: int, seconds: float) -> float:
    image, detector = frame(size, particles), detector_for(size, 1)
    detector.warm()
    scratch = np.zeros(detector.scratch_bytes, np.uint8)
    rows, meta = np.zeros(1 << 17, ROW), np.zeros(1, RESULT_META)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for number in range(len(detector.steps)):
            detector.run(number, 0, image, scratch, rows, meta)
        done += 1
    return done / (time.perf_counter() - began)


def row(
    kind: str, size: int, particles: int, workers: int, serial: float, parallel: float, rate: float
) -> dict[str, Any]:
    return {
        "kind": kind,
        "pixels": f"{size} x {size}",
        "particles": particles,
        "workers": workers,
        "serial ms": serial,
        "parallel ms": parallel,
        "one frame ms": serial + parallel / workers,
        "frames/s": rate,
    }


def main() -> None:
    """Measure, model and print."""
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement with several processes")
    parser.add_argument("--receiver-ms", type=float, default=3.5, help="CPU of the receiver a frame of 2048 x 2048")
    parser.add_argument("--linker-ms", type=float, default=0.6, help="CPU of the linker a frame of 1000 particles")
    options = parser.parse_args()
    machine_was, rows = machine(), []
    cores = len(os.sched_getaffinity(0))
    largest = max(options.sizes)
    for size in options.sizes:
        usual = round(size * size / 4194)
        for particles in (0, usual, 4 * usual) if size == min(largest, 2048) else (usual,):
            say(f"{size} x {size}, {particles} particles")
            serial, parallel = units(size, particles, 1, options.repeats)
            rows.append(row("measured", size, particles, 1, serial, parallel, 1e3 / (serial + parallel)))
    size = min(largest, 2048)
    particles = round(size * size / 4194)
    for workers in range(1, cores + 1):
        say(f"{workers} workers")
        serial, parallel = units(size, particles, workers, options.repeats)
        rate = together(size, particles, workers, options.seconds)
        rows.append(row("measured", size, particles, workers, serial, parallel, rate))
    slowest = max(options.receiver_ms * (size / 2048) ** 2, options.linker_ms * particles / 1000)
    for machine_cores in (8, 16, 32):
        workers = machine_cores - 2
        serial, parallel = units(size, particles, workers, options.repeats)
        rate = min(1e3 * workers / (serial + parallel), 1e3 / slowest)
        rows.append(row(f"model, {machine_cores} cores", size, particles, workers, serial, parallel, rate))
    report(
        "Tracking over workers, particles and pixels",
        rows,
        machine_was,
        notes=[
            "Rows named model are predicted from the serial and parallel parts measured here; nobody measured them."
        ],
        as_json=options.json,
    )


if __name__ == "__main__":
    main()
