"""What cutting a frame into tiles costs, and why strips of whole rows are chosen for more trackers than two.

    python -m perf.tiles                  half a minute
    python -m perf.tiles --size 512 --repeats 3 --json

All units of a frame, done one after another on one core; the answers are the same to the last bit. *relative* is the
median of the ratios to the whole frame, taken in turns.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from engine.rows import RESULT_META, ROW
from engine.workers.centroids import CentroidDetector
from engine.workers.tiling import choose_tile
from perf.common import arguments, machine, report
from perf.locate import frame
from perf.scaling import detector_for

SHAPES = {"whole frame": (1, 1), "2 strips": (2, 1), "4 strips": (4, 1), "8 strips": (8, 1), "32 strips": (32, 1),
          "4 x 4": (4, 4), "8 x 8": (8, 8)}  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--size", type=int, default=2048, help="pixels of a side")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    size: int = options.size
    parameters, image = detector_for(size, 1).parameters, frame(size, round(size * size / 4194))
    rows, meta = np.zeros(1 << 16, ROW), np.zeros(1, RESULT_META)
    detectors = {name: CentroidDetector(parameters, (-(-size // y), -(-size // x))) for name, (y, x) in SHAPES.items()}
    scratch = {name: np.zeros(detector.scratch_bytes, np.uint8) for name, detector in detectors.items()}
    times: dict[str, list[float]] = {name: [] for name in detectors}
    machine_was = machine()
    for _ in range(options.repeats + 1):
        for name, detector in detectors.items():
            began = time.perf_counter()
            for number, step in enumerate(detector.steps):
                for tile in range(1 if step.whole else detector.tiles):
                    detector.run(number, tile, image, scratch[name], rows, meta)
            times[name].append((time.perf_counter() - began) * 1e3)
    whole = np.array(times["whole frame"][1:])
    table: list[dict[str, Any]] = [
        {
            "tiles": name,
            "pixels of one": f"{-(-size // SHAPES[name][0])} x {-(-size // SHAPES[name][1])}",
            "ms": float(np.median(values[1:])),
            "relative": float(np.median(np.array(values[1:]) / whole)),
        }
        for name, values in times.items()
    ]
    chosen = ", ".join(f"{n} workers {choose_tile((size, size), n)[0]} rows" for n in (1, 2, 6, 14))
    report("Tiles of a frame, on one core", table, machine_was, notes=[f"chosen: {chosen}"], as_json=options.json)


if __name__ == "__main__":
    main()
