"""Shows a monitor: in a window of Tk or Qt, or without one as pictures or a film."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from bridge.monitor.feed import Connection, Feed
from bridge.monitor.window import DPI, SIZE_INCHES, TICK_MS, Monitor
from engine.errors import MachineError, PeerError

TOOLKITS = {"tk": "TkAgg", "qt": "QtAgg"}
FILM_FPS = 10.0
SILENCE_S = 15.0
"""Without a window nobody sees that there is no answer: after so long it is given up."""
FILMS = (".gif", ".webp", ".png", ".mp4", ".mkv")
MOST_HELD = 600
"""Pictures of a film that is written as a whole when it ends: until then all of them are in memory, 1.5 MB each."""


def toolkit(wanted: str = "") -> str:
    """The backend of matplotlib for windows: the one that is wanted, or the first that is there.

    Raises MachineError if there is none, or no desktop.
    """
    there = {
        "tk": importlib.util.find_spec("tkinter") is not None,
        "qt": any(importlib.util.find_spec(name) for name in ("PySide6", "PyQt6", "PyQt5")),
    }
    found = [name for name in ([wanted] if wanted else TOOLKITS) if there[name]]
    if not found:
        raise MachineError(
            "monitor: neither Tk nor Qt is here. Install one (Debian: apt install python3-tk; or pip install "
            "PySide6-Essentials), look with a browser (web.enabled), or use --png every 5s"
        )
    if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY") and os.name == "posix":
        raise MachineError(
            "monitor: there is no desktop here (DISPLAY is empty). Look with a browser (web.enabled), or use "
            "--png every 5s"
        )
    return TOOLKITS[found[0]]


@contextmanager
def _running(feed: Feed) -> Iterator[None]:
    feed.start()
    try:
        yield
    finally:
        feed.stop()


def show_window(
    feed: Feed, *, folder: Path, backend: str, title: str = "ringtrack monitor",
    end: Callable[[], bool] = lambda: False, ready: Callable[[Monitor], None] | None = None,
) -> Monitor:  # fmt: skip
    """Until the window is closed, or `end()`. `ready` is called with the monitor when the window stands.

    Raises MachineError if the desktop does not let one be opened.
    """
    figure = _open_window(backend)
    import matplotlib.pyplot as plt

    manager: Any = figure.canvas.manager
    manager.set_window_title(title)
    _fit_screen(figure, manager)
    with _running(feed):
        monitor = Monitor(figure, feed, folder)
        timer = figure.canvas.new_timer(interval=TICK_MS)
        timer.single_shot = True  # the next tick is asked for when this one is done: a slow screen is not flooded

        def tick() -> None:
            if end():
                plt.close(figure)
                return
            try:
                monitor.tick()
            finally:
                timer.start()

        timer.add_callback(tick)
        timer.start()
        figure.canvas.draw()
        if ready is not None:
            ready(monitor)
        plt.show(block=True)
        timer.stop()
        monitor.screen.painter.close()
    return monitor


def _open_window(backend: str) -> Any:
    """An empty figure in a window. Raises MachineError."""
    try:
        mpl.use(backend)
        for key in [key for key in mpl.rcParams if key.startswith("keymap.")]:
            mpl.rcParams[key] = []
        mpl.rcParams["toolbar"] = "None"
        import matplotlib.pyplot as plt

        return plt.figure(figsize=SIZE_INCHES, dpi=DPI)
    except Exception as error:  # ImportError of matplotlib, TclError of Tk: each says it in other words
        where = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or "of this computer"
        raise MachineError(
            f"monitor: no window can be opened on the desktop {where}: it is not there, or not for us. Look with a "
            "browser (web.enabled), or use --png every 5s"
        ) from error


def _fit_screen(figure: Any, manager: Any) -> None:
    """A window that is larger than the screen becomes as large as the screen."""
    window = manager.window
    if hasattr(window, "winfo_screenwidth"):
        screen = window.winfo_screenwidth(), window.winfo_screenheight()
    else:
        size = window.screen().availableGeometry()
        screen = size.width(), size.height()
    ratio = float(getattr(figure.canvas, "device_pixel_ratio", 1.0))
    width, height = (inches * figure.dpi / ratio for inches in figure.get_size_inches())
    shrink = min(1.0, 0.98 * screen[0] / width, 0.94 * screen[1] / height)
    if shrink < 1.0:
        figure.set_size_inches(*(inches * shrink for inches in figure.get_size_inches()), forward=True)


def without_window(feed: Feed, folder: Path) -> Monitor:
    """A monitor that draws into memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = Figure(figsize=SIZE_INCHES, dpi=DPI)
    FigureCanvasAgg(figure)
    monitor = Monitor(figure, feed, folder)
    monitor.screen.painter.start()
    return monitor


def write_pictures(
    feed: Feed, folder: Path, every_s: float, *, seconds: float = 0.0, end: Callable[[], bool] = lambda: False,
    said: Callable[[Path], None] = lambda _: None, prepare: Callable[[Monitor], None] = lambda _: None,
) -> int:  # fmt: skip
    """Write what a window would show as PNG, again and again, until the run ends or `seconds` are over; how many."""
    from PIL import Image as Pillow

    written = 0
    for monitor in _looks(feed, folder, every_s, seconds, end):
        prepare(monitor)
        picture = Pillow.fromarray(monitor.snapshot()).convert("RGB")
        with _to_disk(folder):
            path = monitor._new_file(f"monitor_{max(0, monitor.screen.frame):09d}.png")
            picture.save(path)
        said(path)
        written += 1
    return written


def write_film(
    feed: Feed, path: Path, *, seconds: float = 0.0, end: Callable[[], bool] = lambda: False, fps: float = FILM_FPS,
    prepare: Callable[[Monitor], None] = lambda _: None, said: Callable[[str], None] = lambda _: None,
) -> int:  # fmt: skip
    """Write what a window would show as a film: .gif, .webp and .png (animated) by Pillow, others by PyAV (H.264).

    Returns the number of pictures in it; those of Pillow end after `MOST_HELD`, which `said` tells. Raises MachineError
    if PyAV is needed and missing, or if the film cannot be written.
    """
    count = 0
    with _to_disk(path), _film(path, fps) as add, closing(_looks(feed, path.parent, 1.0 / fps, seconds, end)) as looks:
        for monitor in looks:
            prepare(monitor)
            add(monitor.snapshot()[:, :, :3])
            count += 1
            if count == MOST_HELD and _is_held(path):
                said(f"{path.name} ends after {count} pictures: {path.suffix} holds them all in memory; .mp4 does not")
                break
    return count


@contextmanager
def _to_disk(path: Path) -> Iterator[None]:
    """What the disk refuses, as an error with the place."""
    try:
        yield
    except OSError as error:
        raise MachineError(f"monitor: {path} cannot be written: {error.strerror or error}") from None


def _is_held(path: Path) -> bool:
    """Whether a film is written as a whole, by Pillow."""
    return path.suffix.lower() in (".gif", ".webp", ".png")


def _looks(
    feed: Feed, folder: Path, every_s: float, seconds: float, end: Callable[[], bool]
) -> Generator[Monitor, None, None]:
    """The monitor, ticking, whenever another picture is due.

    Raises PeerError if there was none at all; a run that was seen and answers no more for `SILENCE_S` is over.
    """
    monitor = without_window(feed, folder)
    looks = 0
    with _running(feed):
        began = due = heard = time.monotonic()
        last = began + seconds if seconds else float("inf")
        while not end():
            monitor.tick()
            now, connection = time.monotonic(), feed.connection()
            if connection not in (Connection.CONNECTING, Connection.LOST):
                heard = now
            over = now >= last or now - heard > SILENCE_S or connection is Connection.ENDED
            if (now >= due or over) and monitor.screen.frame >= 0:
                yield monitor
                looks += 1
                due = max(due + every_s, now)
            if over:
                break
            time.sleep(0.01)
        if not looks and not end():
            lost = feed.connection() in (Connection.CONNECTING, Connection.LOST)
            why = (feed.facts.trouble or "nobody has answered") if lost else "the run sent no frame"
            raise PeerError(f"monitor: no picture in {now - began:.0f} s: {why}")


@contextmanager
def _film(path: Path, fps: float) -> Iterator[Callable[[Any], None]]:
    if _is_held(path):
        from PIL import Image as Pillow

        frames: list[Any] = []
        yield lambda rgb: frames.append(
            Pillow.fromarray(np.ascontiguousarray(rgb)).quantize(128, dither=Pillow.Dither.NONE)
        )
        if frames:
            frames[0].save(path, save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0)
        return
    try:
        import av
    except ImportError:
        raise MachineError(
            f"monitor: {path.suffix} needs PyAV (pip install 'ringtrack[export]'). Try {path.stem}.gif or .webp"
        ) from None
    width, height = (round(inches * DPI) // 2 * 2 for inches in SIZE_INCHES)  # the codec takes even sides
    with av.open(str(path), "w") as film:
        stream: Any = film.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast"}  # it is made while the run goes on

        def add(rgb: Any) -> None:
            image = np.ascontiguousarray(rgb[:height, :width, :3])
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                film.mux(packet)

        yield add
        for packet in stream.encode():
            film.mux(packet)
