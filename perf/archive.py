"""The JPEG XL archive: what an effort costs, and whether a RAM disk that fills at a camera's rate is kept up with.

    python -m perf.archive                                 efforts 1 to 3; 25 frames/s of 2048 x 2048 for 20 s
    python -m perf.archive --rates 60 --seconds 60 --stop  verification falls behind: its backlog, the RAM disk

A writer puts files of Poisson noise and spots into a folder of a RAM disk at a steady rate, as camera software does; a
real `ringtrack archive` empties it. `late` is how long it took from the last file to the last verified picture; with
`--stop` it is told to stop when the last file was written, and what is left is told.
"""

from __future__ import annotations

import io
import json
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from perf.common import arguments, machine, report, say
from recorders.archive.speed import measured

RAM = Path("/dev/shm")
SPOTS = 1000
IDLE_S = 5.0
PROGRAM = "import sys; from engine.cli import main; sys.exit(main())"


def frame(side: int, seed: int) -> np.ndarray:
    """The frame of the other benchmarks: Poisson background 100, a thousand spots."""
    rng = np.random.default_rng(seed)
    mean = np.full((side, side), 100.0)
    y, x = np.mgrid[-8:9, -8:9]
    spot = 1000 * np.exp(-(x**2 + y**2) / (2 * 2.5**2))
    for cy, cx in rng.integers(8, side - 9, (round(SPOTS * (side / 2048) ** 2), 2)):
        mean[cy - 8 : cy + 9, cx - 8 : cx + 9] += spot
    return rng.poisson(mean).astype(np.uint16)


def efforts(side: int, wanted: list[int]) -> list[dict[str, Any]]:
    """One core, one frame."""
    out = []
    for effort in wanted:
        speed = measured(effort, frame(side, 0))
        out.append({
            "what": f"effort {effort}", "pack ms": 1e3 * speed.pack_s, "verify ms": 1e3 * speed.verify_s,
            "ratio": speed.ratio, "frames/s": 1 / (speed.pack_s + speed.verify_s), "archived": "-", "backlog": "-",
            "late s": float("nan"), "RAM disk GiB": float("nan"), "CPU ms": float("nan"),
        })  # fmt: skip
    return out


def kept_up(side: int, rate: float, seconds: float, workers: int, room_gib: float, stop: bool) -> dict[str, Any]:
    """One row: files at a rate, and what became of them."""
    contents = []
    for seed in range(4):
        out = io.BytesIO()
        tifffile.imwrite(out, frame(side, seed), photometric="minisblack")
        contents.append(out.getvalue())
    ram = Path(tempfile.mkdtemp(prefix="perf-archive-", dir=RAM if RAM.is_dir() else None))
    dest = Path(tempfile.mkdtemp(prefix="perf-archive-"))
    usage = shutil.disk_usage(ram)
    mark = min(0.99, (usage.used + room_gib * 2**30) / usage.total)
    command = [
        sys.executable, "-P", "-c", PROGRAM, "archive", str(ram), str(dest), "--workers", str(workers),
        "--mark", f"{mark:.4f}", "--json", *([] if stop else ["--idle", f"{IDLE_S:g}"]),
    ]  # fmt: skip
    before_s = _cpu_s_of_children()
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        say(process.stderr.readline().strip())  # what it has measured; now it begins
        time.sleep(0.5)
        started, highest = time.perf_counter(), 0
        count = round(rate * seconds)
        for n in range(count):
            while (left := started + n / rate - time.perf_counter()) > 0:
                time.sleep(left)
            beside = ram / f"img_{n:06d}.part"
            beside.write_bytes(contents[n % len(contents)])
            beside.rename(ram / f"img_{n:06d}.tif")
            if n % 10 == 0:
                highest = max(highest, len(_files(ram)) * len(contents[0]))
        wrote_s = time.perf_counter() - started
        if stop:
            process.send_signal(signal.SIGINT)
        text, said = process.communicate(timeout=600)
        account = json.loads(text)
        late_s = time.perf_counter() - started - wrote_s - (0.0 if stop else IDLE_S)
        for line in said.splitlines():
            say(line)
        lost = count - account["archived"] - len(_files(ram)) - len(list((dest / "waiting").glob("*/*.tif")))
        if lost or not account["files"]:
            raise RuntimeError(f"{lost} files are neither in the archive nor in their folder: {account}")
        return {
            "what": f"{rate:g} frames/s, {seconds:g} s, {workers} workers", "pack ms": float("nan"),
            "verify ms": float("nan"), "ratio": account["bytes_raw"] / max(1, account["bytes_jxl"]),
            "frames/s": account["archived"] / account["seconds"], "archived": f"{account['archived']} of {count}",
            "backlog": f"{account['largest_backlog']} to verify, {account['moved']} moved aside",
            "late s": max(0.0, late_s), "RAM disk GiB": highest / 2**30,
            "CPU ms": 1e3 * (_cpu_s_of_children() - before_s) / (account["archived"] or float("nan")),
        }  # fmt: skip
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        shutil.rmtree(ram, ignore_errors=True)
        shutil.rmtree(dest, ignore_errors=True)


def _cpu_s_of_children() -> float:
    """Of those that have ended, and their children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix == ".tif"]


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--efforts", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--rates", type=float, nargs="*", default=[25.0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--room-gib", type=float, default=4.0, help="of the RAM disk, below its mark")
    parser.add_argument("--stop", action="store_true", help="stop when the last file was written")
    options = parser.parse_args()
    was = machine()
    rows = efforts(options.side, options.efforts)
    for rate in options.rates:
        say(f"{rate:g} frames/s for {options.seconds:g} s …")
        rows.append(
            kept_up(options.side, rate, options.seconds, options.workers, options.room_gib, options.stop)
        )  # fmt: skip
    side = options.side
    notes = [
        "RAM disk GiB: the most that the camera's files took. Verified: read back, decoded, checksums equal.",
        "CPU ms: of the archiver and its workers, for each picture, start and measurement included.",
    ]
    report(f"JPEG XL archive, {side} x {side}", rows, was, notes=notes, as_json=options.json)


if __name__ == "__main__":
    main()
