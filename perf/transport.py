"""What ZeroMQ and the kernel take to carry a frame: a bare pair of sockets, the floor of sender and receiver.

    python -m perf.transport
    python -m perf.transport --sizes 512 --seconds 1 --json

One process sends frames of two parts at a steady rate without copying them, the other lets ZeroMQ write them into one
of a few slots, with the socket options of `bridge.link` and `bridge.reception`; nothing else is done. *checksum* is the
xxh3 of the pixels, which a sender of ours adds. What `perf.engine` shows of sender and receiver beyond this is ours.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from bridge import wire
from bridge.link import HIGH_WATER, SOCKET_BUFFER
from perf.common import arguments, machine, report, say

RATE = 50.0
WARM_FRAMES = 10
SLOTS = 8


def send(address: str, size: int, frames: int) -> None:
    """The sender's process: prints its CPU seconds for all but the first frames."""
    pictures = [np.random.default_rng(n).integers(0, 4000, (size, size), np.uint16) for n in range(SLOTS)]
    trackers: list[Any] = [None] * SLOTS
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.set(zmq.SNDHWM, HIGH_WATER)
        socket.set(zmq.SNDBUF, SOCKET_BUFFER)
        socket.connect(address)
        due, before = time.perf_counter(), 0.0
        for n in range(frames):
            if n == WARM_FRAMES:
                before = time.process_time()
            due = max(due + 1 / RATE, time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))
            if trackers[n % SLOTS] is not None:
                trackers[n % SLOTS].wait()
            socket.send(b"header", zmq.SNDMORE)
            picture: Any = pictures[n % SLOTS]
            trackers[n % SLOTS] = socket.send(picture, copy=False, track=True)
        for tracker in trackers:
            tracker.wait()
        print(time.process_time() - before)
        socket.close(linger=10_000)


def one(way: str, size: int, seconds: float) -> dict[str, Any]:
    """CPU ms a frame of both ends."""
    frames = WARM_FRAMES + round(RATE * seconds)
    slots = np.zeros((SLOTS, size, size), np.uint16)
    with tempfile.TemporaryDirectory() as folder, zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.set(zmq.RCVHWM, HIGH_WATER)
        socket.set(zmq.RCVBUF, SOCKET_BUFFER)
        socket.bind("tcp://127.0.0.1:*" if way == "tcp" else f"ipc://{Path(folder) / 'pair'}")
        address = socket.get_string(zmq.LAST_ENDPOINT)
        command = [sys.executable, "-m", "perf.transport", "--sending", address, str(size), str(frames)]
        before = 0.0
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
            for n in range(frames):
                if n == WARM_FRAMES:
                    before = time.process_time()
                socket.poll(60_000)
                socket.recv()
                socket.recv()
                slot: Any = slots[n % SLOTS]
                got = socket.recv_into(memoryview(slot), nbytes=slot.nbytes)
                assert got == slot.nbytes
            received = time.process_time() - before
            assert sender.stdout is not None
            sent = float(sender.stdout.read())
    hashing = []
    for _ in range(9):
        began = time.perf_counter()
        wire.checksum(slots[0])
        hashing.append(time.perf_counter() - began)
    counted = frames - WARM_FRAMES
    return {
        "frame": f"{size} x {size}",
        "way": way,
        "sender CPU ms": sent * 1e3 / counted,
        "receiver CPU ms": received * 1e3 / counted,
        "both CPU ms": (sent + received) * 1e3 / counted,
        "checksum ms": float(np.median(hashing)) * 1e3,
    }


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 2048], help="pixels of a side")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each way")
    parser.add_argument("--sending", nargs=3, help="how it starts its other half")
    options = parser.parse_args()
    if options.sending:
        send(options.sending[0], int(options.sending[1]), int(options.sending[2]))
        return
    machine_was, rows = machine(), []
    for size in options.sizes:
        for way in ("tcp", "ipc"):
            say(f"{size} x {size} over {way}")
            rows.append(one(way, size, options.seconds))
    notes = [f"{RATE:g} frames/s, nothing but ZeroMQ at both ends."]
    report("A bare pair of sockets", rows, machine_was, notes=notes, as_json=options.json)


if __name__ == "__main__":
    main()
