"""A feed without a run: the test says what comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.client import Client, FrameResult, Image, Settings
from bridge.monitor.feed import Connection, Facts, View
from engine.experiment import Linking, Tracking
from engine.rows import ROW

SHAPE = (200, 300)


def rows_at(frame: int, xy: list[tuple[float, float]]) -> NDArray[Any]:
    """Particles 0, 1, 2, ... at these places."""
    rows = np.zeros(len(xy), ROW)
    rows["frame"], rows["particle"], rows["age"] = frame, np.arange(len(xy)), frame
    rows["x"], rows["y"] = np.transpose(xy) if xy else (0, 0)
    rows["mass"], rows["size"], rows["signal"], rows["ecc"] = 1000, 2.5, 300, 0.1
    return rows


class MadeFeed:
    """What `bridge.monitor.feed.Feed` asks for."""

    def __init__(self, pixel_um: float = 0.1) -> None:
        camera = {"width": SHAPE[1], "height": SHAPE[0], "pixel_um": pixel_um, "fps": 100.0, "dtype": "uint16"}
        self.facts = Facts(
            hello={"name": "made", "run_folder": "/data/run_001", "camera": camera, "source": "simulated?beads=2"},
            metrics={"seconds": 1.0, "process_rate": 99.5, "track_count": 2, "lost": 0, "bytes_recorded": 5_000_000,
                     "recording": {"state": "on", "name": "take 1", "take": 1, "seconds": 61.0, "bytes": 5_000_000,
                                   "outputs": {"tiff": True, "lsl": True}},
                     "processes": {"hdf5": {}}, "step_ms": {"tracking": {"p50": 4.0, "p99": 9.0}}},
            log=[{"t_utc_ns": 10**18, "level": "info", "process": "receiver", "message": "hello"}],
            settings=Settings(1, Tracking(diameter=11, separation=12), Linking(), None),
        )  # fmt: skip
        self.view = View()
        self.state = Connection.LIVE
        self.asked: list[Callable[[Client], Any]] = []
        self.client: Any = None
        self._answers: list[tuple[Callable[[Any, str], None], Any, str]] = []
        self._picture: Image | None = None
        self._results: list[FrameResult] = []

    def give(self, frame: int, xy: list[tuple[float, float]], pixels: NDArray[Any] | None = None) -> None:
        """A frame has come."""
        if pixels is None:
            pixels = np.full(SHAPE, 100, np.uint16)
            for x, y in xy:
                pixels[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] = 900
        rows = rows_at(frame, xy)
        over = np.flatnonzero(pixels >= 4000).astype(np.uint32)
        self._picture = Image(frame, pixels, rows, 1, {"settings": 1}, (0, 0), over)
        self._results.append(FrameResult(frame, frame, rows, {}))

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def picture(self) -> Image | None:
        picture, self._picture = self._picture, None
        return picture

    def results(self) -> list[FrameResult]:
        found, self._results = self._results, []
        return found

    def connection(self) -> Connection:
        return self.state

    def ask(self, what: Callable[[Client], Any], then: Callable[[Any, str], None]) -> None:
        try:
            self._answers.append((then, what(self.client), ""))
        except Exception as error:
            self._answers.append((then, None, str(error)))

    def deliver(self) -> None:
        waiting, self._answers = self._answers, []
        for then, result, error in waiting:
            then(result, error)
