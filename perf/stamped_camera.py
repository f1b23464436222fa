"""A camera whose frames show the time: 44 squares of bits in the top row, so that a screen can be asked how old it is.

python -m perf.stamped_camera tcp://127.0.0.1:50052 1024 30 10      address, pixels of a side, frames/s, seconds
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray

from bridge import Sender
from bridge.simulator import Simulator

BITS, SQUARE = 44, 16
DARK, LIGHT = 100, 2500


def stamp(image: NDArray[np.uint16], ms: int) -> None:
    """Draw milliseconds (UTC) into the top left corner, the lowest bit first."""
    for bit in range(BITS):
        image[:SQUARE, bit * SQUARE : (bit + 1) * SQUARE] = LIGHT if ms >> bit & 1 else DARK


READ = f"""(() => {{
  const c = document.getElementById("image"), s = ringtrack.head.step, q = {SQUARE} / s;
  const d = c.getContext("2d").getImageData(0, 0, Math.ceil({BITS} * q), Math.ceil(q)).data, w = Math.ceil({BITS} * q);
  let ms = 0; for (let b = 0; b < {BITS}; b++) {{
    const x = Math.floor((b + .5) * q), y = Math.floor(q / 2); if (d[4 * (y * w + x)] > 128) ms += 2 ** b; }}
  return Date.now() - ms; }})()"""
"""What the page is asked: how many milliseconds ago the camera drew what is on the canvas now."""


def main(address: str, size: int, fps: float, seconds: float) -> None:
    """Send until the time is over, live: what the receiver cannot take is dropped."""
    scene = Simulator(width=size, height=size, beads=size * size // 10000, fps=fps, signal=1500.0, loop=16)
    frames = scene.frames()
    scene.prepare()
    with Sender(address, source="stamped camera", live=True, fps=fps) as sender:
        due = time.monotonic()
        end = due + seconds
        while due < end:
            image, _ = next(frames)
            image = image.astype(np.uint16)
            stamp(image, time.time_ns() // 1_000_000)
            sender.send(image)
            due += 1 / fps
            time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
