"""A finished run as the monitor's feed: its frames and rows come at the pace of their camera times, or faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.client import Client, FrameResult, Image, Settings
from bridge.looking import clipped, over_limit, reduced, step_for
from bridge.monitor.feed import Answers, Connection, Facts, View
from engine.rows import STEP_TIMES
from recorders.parts import RunError
from recorders.run import Run
from recorders.tiff_pictures import Kept

RATE_OVER_S = 1.0


class ReplayFeed:
    """Of the run in `folder`. Where no images were recorded, the picture is black and the particles are on it."""

    def __init__(self, folder: Path, *, speed: float = 1.0, most_fps: float = 30.0) -> None:
        """Raises RunError if there is no recording."""
        record = Run.open(folder)
        self._record, self._speed, self._period = record, speed, 1.0 / most_fps
        self._rows = record.tracks_array
        table = record.frames_array
        self._table = table[table["state"] == b"tracked"]
        if not len(self._table):
            raise RunError(f"{folder} holds no tracked frame")
        times = self._table["t_camera_ns"]
        self._due_s = (times - times[0]) / 1e9 / speed
        try:
            self._pictures: Kept | None = record.frames
        except RunError:
            self._pictures = None
        lost = record.lost
        self._lost = int((lost["last"] - lost["first"] + 1).sum()) if len(lost) else 0
        self._began = 0.0
        self._told = self._pictured = 0
        self._picture_due = 0.0
        self._answers = Answers()
        settings = record.settings
        camera: dict[str, Any] = msgspec.to_builtins(settings.camera)
        self._limit = settings.camera.saturation
        self.view = View()
        self.facts = Facts(
            hello={
                "name": settings.experiment.name, "run_folder": str(folder), "camera": camera,
                "sample": msgspec.to_builtins(settings.sample), "source": None,
            },
            settings=Settings(1, settings.tracking, settings.linking, None),
            recorded=True,
        )  # fmt: skip

    def start(self) -> None:
        self._began = time.monotonic()

    def stop(self) -> None:
        """Nothing runs."""

    def picture(self) -> Image | None:
        now = time.monotonic()
        index = self._now() - 1
        if index < 0 or index + 1 == self._pictured or now < self._picture_due or self.view.paused:
            return None
        self._picture_due = now + self._period
        self._pictured = index + 1
        meta = self._table[index]
        y, x = clipped(self.view.region, self._record.settings.camera.shape_hw)
        part = self._pixels(int(meta["frame"]))[y, x]
        step = min(step_for(part.shape, self.view.most_px), *part.shape)
        return Image(
            int(meta["frame"]), reduced(part, step), self._rows_of(index), step, {"settings": int(meta["settings"])},
            (y.start, x.start), over_limit(part, self._limit, step),
        )  # fmt: skip

    def results(self) -> list[FrameResult]:
        last = self._now()
        found = [FrameResult(int(self._table["frame"][i]), i, self._rows_of(i), {}) for i in range(self._told, last)]
        self._told = last
        elapsed = max(1e-9, time.monotonic() - self._began)
        first = int(np.searchsorted(self._due_s, elapsed - RATE_OVER_S))
        shown = self._table[last - 1] if last else None
        self.facts.metrics = {
            "seconds": round(elapsed, 2), "process_rate": (last - first) / min(RATE_OVER_S, elapsed),
            "track_count": int(shown["rows"]) if shown is not None else 0, "lost": self._lost,
            "step_ms": self._steps(last), "processes": {},
        }  # fmt: skip
        return found

    def connection(self) -> Connection:
        return Connection.ENDED if self._told == len(self._table) else Connection.LIVE

    def ask(self, what: Callable[[Client], Any], then: Callable[[Any, str], None]) -> None:
        self._answers.put(then, None, "this run is finished: nothing can be changed in it")

    def deliver(self) -> None:
        self._answers.deliver()

    def _now(self) -> int:
        """How many frames are due."""
        return int(np.searchsorted(self._due_s, time.monotonic() - self._began, side="right"))

    def _rows_of(self, index: int) -> NDArray[Any]:
        first = int(self._table["first_row"][index])
        rows: NDArray[Any] = self._rows[first : first + int(self._table["rows"][index])]
        return rows

    def _pixels(self, frame: int) -> NDArray[Any]:
        """The camera's frame; black where nothing of it was kept."""
        camera, (y0, y1, x0, x1) = self._record.settings.camera, self._record.kept_part
        try:
            pixels: NDArray[Any] = np.zeros(0) if self._pictures is None else self._pictures[frame]
        except IndexError:  # of these every n-th was kept
            pixels = np.zeros(0)
        if pixels.shape == camera.shape_hw:
            return pixels
        whole = np.zeros(camera.shape_hw, camera.dtype)
        if pixels.shape == (y1 - y0, x1 - x0):
            whole[y0:y1, x0:x1] = pixels
        return whole

    def _steps(self, last: int) -> dict[str, dict[str, float]]:
        recent = self._table[max(0, last - 128) : last]
        found = {}
        for name, (start, end) in STEP_TIMES.items():
            if len(recent) and start in recent.dtype.names and end in recent.dtype.names:
                p50, p99 = np.percentile((recent[end] - recent[start]) / 1e6, [50, 99])
                found[name] = {"p50": float(p50), "p99": float(p99)}
        return found
