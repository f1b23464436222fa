"""What looking and steering cost: calls of a client, pictures in a browser and in the monitor, and what they take away.

    python -m perf.interfaces                     a minute and a half
    python -m perf.interfaces --only client web   some of it

- *client*: time of `Client` calls, and of the newest image of 2048 x 2048 uint16 (8 MiB), over TCP on this machine.
- *browser*: Chromium on the page of a run at 1024 x 1024 and 30 frames/s, all on this machine: frames/s on the canvas,
  and their age there, by a time that the camera draws into each frame and the page reads back from its canvas.
- *viewers*: CPU of the web process with one viewer and with four of the same size and rate.
- *monitor*: pictures a second in a window of Tk on a display in memory.
- *everything*: frames/s flat out at 512 x 512 without and with a monitor, four viewers and a poller of metrics; what
  they took in CPU; frames lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from bridge import Client
from bridge.control import local_address
from engine.experiment import Experiment
from engine.supervisor import start
from perf.common import Spread, arguments, machine, report, say
from perf.stamped_camera import READ

CONTROL, WEB, CAMERA = 50193, 50194, 50192
PARTS = ("client", "browser", "viewers", "monitor", "everything")


def _experiment(data: Path, size: int, fps: float, **more: Any) -> Experiment:
    settings: dict[str, Any] = {
        "experiment.name": "bench", "experiment.data": data, "experiment.max_lost": 10**9,
        "camera.listen": f"tcp://127.0.0.1:{CAMERA}", "control.listen": f"tcp://127.0.0.1:{CONTROL}",
        "web.enabled": "true", "web.listen": f"127.0.0.1:{WEB}", "camera.width": size, "camera.height": size,
        "camera.fps": fps, "camera.bits": 12, "tracking.diameter": 11, "tracking.separation": 12,
        "tracking.minmass": 500, "tracking.max_ecc": 0, "tracking.precision": "single",
    } | more  # fmt: skip
    return Experiment.load(None, [f"{key}={value}" for key, value in settings.items()])


@contextmanager
def _run(data: Path, size: int, fps: float, source: str | None) -> Iterator[Any]:
    with start(_experiment(data, size, fps), source=source, source_options={"fps": fps}) as run:
        yield run


def _timed(what: Callable[[], Any], times: int) -> Spread:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        what()
        took.append(1e3 * (time.perf_counter() - began))
    return Spread.of(took)


def client_rows(data: Path) -> list[dict[str, Any]]:
    rows = []
    with (
        _run(data, 2048, 5.0, "simulated?beads=200&loop=4&frames=1000000") as run,
        Client(f"tcp://127.0.0.1:{CONTROL}") as client,
    ):
        _wait(lambda: client.metrics()["frame_count"] > 3)
        for name, call, times in (
            ("settings", client.settings, 300), ("metrics", client.metrics, 300),
            ("accounting", client.accounting, 300), ("mark", lambda: client.mark("bench"), 100),
            ("latest, no pixels", lambda: client.call(_latest(False)), 300),
            ("latest, 8 MiB", client.get_latest_image, 60),
        ):  # fmt: skip
            took = _timed(call, times)
            rows.append(_row("client", name, "ms", took.p50, took.p99))
        del run
    return rows


def browser_rows(data: Path, seconds: float) -> list[dict[str, Any]]:
    from tests.system.test_browser import CHROMIUM, _browser, _page

    if CHROMIUM is None:
        say("Chromium is not installed: no rows of a browser")
        return []
    with _run(data, 1024, 30.0, None), tempfile.TemporaryDirectory() as folder, _browser(Path(folder)) as port:
        camera = _start("perf.stamped_camera", f"tcp://127.0.0.1:{CAMERA}", "1024", "30", str(seconds + 25))
        try:
            return asyncio.run(_look(_page, port, seconds))
        finally:
            camera.terminate()
            camera.wait()


async def _look(open_page: Any, port: int, seconds: float) -> list[dict[str, Any]]:
    page = await open_page(port, f"http://127.0.0.1:{WEB}/")
    await page.until("window.ringtrack && ringtrack.state === 'live'", 40)
    await asyncio.sleep(3)
    # Every frame that is drawn is counted; of every third the time is read back from the canvas, which costs some.
    await page.value("window.counted = 0; window.ages = []")
    await page.value(f"ringtrack.drawn = () => {{ if (counted++ % 3 === 0) ages.push({READ}); }}; 0")
    began = time.monotonic()
    await asyncio.sleep(seconds)
    counted, ages = await page.value("[counted, ages]")
    rate = counted / (time.monotonic() - began)
    took = Spread.of([age for age in ages if 0 < age < 10_000])
    return [
        _row("browser", "frames/s on the canvas, 1024 x 1024", "/s", rate, float("nan")),
        _row("browser", "from the camera's drawing to the canvas", "ms", took.p50, took.p99),
    ]


def viewers_rows(data: Path, seconds: float) -> list[dict[str, Any]]:
    rows, share = [], []
    with _run(data, 1024, 30.0, "simulated?beads=100&loop=16&frames=1000000&fps=30") as run:
        web = _process(run, "web")
        for number in (1, 4):
            with _viewers(number) as seen:
                time.sleep(1.5)
                before, pictures, began = sum(web.cpu_times()[:2]), seen[0], time.monotonic()
                time.sleep(seconds)
                took = time.monotonic() - began
                share.append((sum(web.cpu_times()[:2]) - before) / took)
                rate = (seen[0] - pictures) / took / number
            rows.append(_row("viewers", f"CPU of the web process, {number} at {rate:.0f}/s", "%", 100 * share[-1]))
    rows.append(_row("viewers", "four over one", "x", share[1] / share[0]))
    return rows


def monitor_rows(data: Path, seconds: float) -> list[dict[str, Any]]:
    if shutil.which("Xvfb") is None:
        say("Xvfb is not installed: no rows of the monitor")
        return []
    with _run(data, 1024, 30.0, "simulated?beads=100&loop=16&frames=1000000&fps=30"), _display() as display:
        told = _monitor(display, seconds).communicate()[0]
    found = json.loads(told)
    return [_row("monitor", "pictures/s in a window of Tk, 1024 x 1024", "/s", found["per_second"])]


def everything_rows(data: Path, seconds: float) -> list[dict[str, Any]]:
    rows, rates = [], []
    for with_all in (False, True):
        options = f"simulated?beads=60&loop=16&fps=400&live=0&frames={round(120 * seconds)}"
        with ExitStack() as stack:
            run = stack.enter_context(_run(data, 512, 400.0, options))
            lookers: list[psutil.Process] = []
            if with_all:
                stack.enter_context(_viewers(4))
                if shutil.which("Xvfb"):
                    window = _monitor(stack.enter_context(_display()), 600)
                    stack.callback(window.wait)
                    stack.callback(window.terminate)
                    lookers.append(psutil.Process(window.pid))
                stack.enter_context(_poller(run.plan.run_id))
                lookers += [_process(run, "web"), _process(run, "control"), psutil.Process()]
            used = -sum(sum(each.cpu_times()[:2]) for each in lookers)
            began = time.monotonic()
            _wait(lambda run=run: _newest(run) < 0 or _frames(run) >= 100 * seconds, 300)
            used += sum(sum(each.cpu_times()[:2]) for each in lookers if each.is_running())
            used /= (time.monotonic() - began) * len(os.sched_getaffinity(0))
            summary = run.wait()
        rates.append(summary.fps)
        name = "with monitor, 4 viewers, poller" if with_all else "alone"
        rows.append(_row("everything", f"frames/s flat out, {name}; lost {summary.frames_lost}", "/s", summary.fps))
        if with_all:
            rows.append(_row("everything", "share of the machine that they used", "%", 100 * used))
    rows.append(_row("everything", "frames/s fell by", "%", 100 * (1 - rates[1] / rates[0])))
    return rows


# ---- what looks on


@contextmanager
def _viewers(number: int) -> Iterator[list[int]]:
    """Pages without a browser, in a thread: they say at once that they drew; how many pictures came."""
    seen, stop = [0], threading.Event()

    async def one() -> None:
        import tornado.websocket

        socket = await tornado.websocket.websocket_connect(f"ws://127.0.0.1:{WEB}/socket", max_message_size=1 << 26)
        await socket.write_message(json.dumps({"want": {"most_px": 1024, "quality": 85, "fps": 30.0}}))
        while not stop.is_set():
            message = await socket.read_message()
            if message is None:
                return
            if isinstance(message, bytes) and message[0] == 1:
                seen[0] += 1
                await socket.write_message(json.dumps({"seen": int.from_bytes(message[20:28], "little")}))
        socket.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(number)), return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(all_of_them()), daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(5)


@contextmanager
def _poller(run_id: str) -> Iterator[None]:
    """Metrics five times a second, over HTTP and from a client."""
    stop = threading.Event()

    def ask() -> None:
        import urllib.request

        with Client(local_address(run_id)) as client:
            while not stop.wait(0.2):
                try:
                    client.metrics()
                    urllib.request.urlopen(f"http://127.0.0.1:{WEB}/metrics", timeout=2).read()
                except Exception:
                    return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)


@contextmanager
def _display() -> Iterator[str]:
    from tests.system.test_monitor import _display as display

    with display() as name:
        yield name


def _monitor(display: str, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "perf.monitor_window", f"tcp://127.0.0.1:{CONTROL}", str(seconds)]
    return subprocess.Popen(command, env={**os.environ, "DISPLAY": display}, stdout=subprocess.PIPE, text=True)


def _start(module: str, *args: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", module, *args], stdout=subprocess.DEVNULL)


def _process(run: Any, name: str) -> psutil.Process:
    with Client(local_address(run.plan.run_id)) as client:
        return psutil.Process(client.metrics()["processes"][name]["pid"])


def _frames(run: Any) -> int:
    with Client(local_address(run.plan.run_id), timeout_s=2) as client:
        return int(client.metrics()["frame_count"])


def _newest(run: Any) -> int:
    """-1 when the run's processes are gone."""
    return 0 if psutil.pid_exists(run.pid) else -1


def _latest(image: bool) -> Any:
    from bridge.control_wire import Latest

    return Latest(image=image)


def _wait(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            if condition():
                return
        except Exception:
            if time.monotonic() > end - timeout_s + 20:
                return
        time.sleep(0.05)


def _row(part: str, what: str, unit: str, p50: float, p99: float = float("nan")) -> dict[str, Any]:
    return {"part": part, "what": what, "unit": unit, "median": float(p50), "99 %": float(p99)}


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement that goes on for a while")
    options: argparse.Namespace = parser.parse_args()
    machine_was, rows = machine(), []
    for part in options.only:
        say(part)
        with tempfile.TemporaryDirectory() as folder:
            measure: Any = globals()[f"{part}_rows"]
            rows += measure(Path(folder)) if part == "client" else measure(Path(folder), options.seconds)
    report("Looking and steering", rows, machine_was, as_json=options.json)


if __name__ == "__main__":
    main()
