"""Where the monitor's pictures, rows and figures come from, and where its wishes go.

A feed works in threads of its own; the window looks at what has come, once a tick, and never waits. `LiveFeed` asks a
run's control server: one thread follows results and pictures, another one carries out what people ask for, so that a
change that waits for its first frame does not stop the pictures. A window that is stopped asks for nothing, and the run
does not know the difference.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from bridge import control_wire as wire
from bridge.answers import results_of
from bridge.client import Client, FrameResult, Image, Settings
from bridge.connection import NoAnswerError
from engine.errors import PeerError, RingtrackError, SettingsError

METRICS_EVERY_S = 0.5
LOG_EVERY_S = 2.0
ANSWER_S = 3.0
STALE_S = 1.0
MOST_WAITING = 2048
"""Results that the window has not taken yet; a window that is busy for longer loses the oldest."""


class Connection(Enum):
    """What the window says of it."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALE = "stale: no new frame"
    LOST = "no connection"
    ENDED = "the run has ended"


@dataclass
class View:
    """What the window wants to see: at most so many pixels of a side, of a region; paused: nothing."""

    most_px: int = 700
    region: tuple[int, int, int, int] | None = None
    paused: bool = False


@dataclass
class Facts:
    """Of the run: who it is; newest figures, log and settings. Replaced as a whole or field by field, never half."""

    hello: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    settings: Settings | None = None
    recorded: bool = False  # a finished run is shown
    trouble: str = ""  # why there is no connection, or was none the last time

    @property
    def pixel_um(self) -> float:
        """Micrometres a pixel; 0: not calibrated."""
        return float(self.hello.get("camera", {}).get("pixel_um", 0.0))

    @property
    def shape_hw(self) -> tuple[int, int]:
        camera = self.hello.get("camera", {})
        return int(camera.get("height", 0)), int(camera.get("width", 0))

    @property
    def fps(self) -> float:
        return float(self.hello.get("camera", {}).get("fps", 1.0))

    @property
    def simulated(self) -> bool:
        return "simulated" in str(self.hello.get("source") or "")


class Feed(Protocol):
    """What a window needs."""

    facts: Facts
    view: View

    def start(self) -> None:
        """Begin to fetch."""

    def stop(self) -> None:
        """End; nothing of it is left."""

    def picture(self) -> Image | None:
        """The newest picture, once; None if none came since."""

    def results(self) -> list[FrameResult]:
        """What came since, in order."""

    def connection(self) -> Connection:
        """How it stands."""

    def ask(self, what: Callable[[Client], Any], then: Callable[[Any, str], None]) -> None:
        """Do something at the run; `then(result, error)` is called by `deliver`. A replay refuses."""

    def deliver(self) -> None:
        """Call what waits for answers, in the caller's thread."""


class Answers:
    """Answers on their way back into the drawing thread."""

    def __init__(self) -> None:
        self._ready: queue.SimpleQueue[tuple[Callable[[Any, str], None], Any, str]] = queue.SimpleQueue()

    def put(self, then: Callable[[Any, str], None], result: Any, error: str) -> None:
        self._ready.put((then, result, error))

    def deliver(self) -> None:
        with suppress(queue.Empty):
            while True:
                then, result, error = self._ready.get_nowait()
                then(result, error)


class LiveFeed:
    """A run at an address. See the module."""

    def __init__(self, address: str, *, keys: Path | None = None, most_fps: float = 30.0) -> None:
        self.address = address
        self.facts = Facts()
        self.view = View()
        self._keys = keys
        self._period = 1.0 / most_fps
        self._picture: Image | None = None
        self._results: deque[FrameResult] = deque(maxlen=MOST_WAITING)
        self._state = Connection.CONNECTING
        self._last_new = 0.0
        self._last_frame = -1
        self._stop = threading.Event()
        self._wishes: queue.Queue[tuple[Callable[[Client], Any], Callable[[Any, str], None]] | None] = queue.Queue(64)
        self._answers = Answers()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._threads = [
            threading.Thread(target=self._watch, name="monitor-watch", daemon=True),
            threading.Thread(target=self._serve, name="monitor-wishes", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        with suppress(queue.Full):
            self._wishes.put_nowait(None)
        for thread in self._threads:
            thread.join(ANSWER_S + 2)

    def picture(self) -> Image | None:
        picture, self._picture = self._picture, None
        return picture

    def results(self) -> list[FrameResult]:
        found = []
        with suppress(IndexError):
            while True:
                found.append(self._results.popleft())
        return found

    def connection(self) -> Connection:
        if self._state is Connection.LIVE and time.monotonic() - self._last_new > max(STALE_S, 3 / self.facts.fps):
            return Connection.STALE
        return self._state

    def ask(self, what: Callable[[Client], Any], then: Callable[[Any, str], None]) -> None:
        try:
            self._wishes.put_nowait((what, then))
        except queue.Full:
            self._answers.put(then, None, "too many wishes at once; wait a moment")

    def deliver(self) -> None:
        self._answers.deliver()

    # ---- the thread that watches

    def _watch(self) -> None:
        while not self._stop.is_set():
            with Client(self.address, timeout_s=ANSWER_S, keys=self._keys) as client:
                try:
                    self.facts.hello = client.hello()
                    run_id = client.run_id
                    self.facts.settings = client.settings()
                    self._look_on(client, run_id)
                except Exception as error:  # nobody there; an address, keys or answers of no use: said, and tried again
                    if self._state is not Connection.ENDED:
                        self._state = Connection.LOST
                        known = isinstance(error, RingtrackError)
                        self._said(str(error) if known else f"{type(error).__name__}: {error}")
            self._stop.wait(0.3)

    def _said(self, trouble: str) -> None:
        """Among the lines of the log, once."""
        if trouble != self.facts.trouble:
            self.facts.trouble = trouble
            line = {"t_utc_ns": time.time_ns(), "level": "error", "process": "monitor", "message": trouble}
            self.facts.log = [*self.facts.log, line][-12:]

    def _look_on(self, client: Client, run_id: str) -> None:
        """Until that run answers no more. Another one at its address refuses: it is asked anew who it is."""
        after: int | None = None
        metrics_due = log_due = picture_due = 0.0
        self._state = Connection.LIVE
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= metrics_due:
                metrics_due = now + METRICS_EVERY_S
                self.facts.metrics = client.metrics()
                known = self.facts.settings
                if known is None or known.version != self.facts.metrics["settings_newest"]:
                    self.facts.settings = client.settings()
            if now >= log_due:
                log_due = now + LOG_EVERY_S
                self.facts.log = client.log(12)
            after = self._fetch_results(client, run_id, after)
            if now >= picture_due and not self.view.paused:
                picture_due = max(picture_due + self._period, now + self._period / 4)
                self._fetch_picture(client)
            left = min(picture_due, metrics_due) - time.monotonic()
            self._stop.wait(min(0.05, max(0.002, left)))

    def _fetch_results(self, client: Client, run_id: str, after: int | None) -> int:
        result, arrays = client.call(wire.Results(after=after, most=256, wait_s=0.0, run=run_id))
        self._results.extend(results_of(result, arrays))
        self._state = Connection.ENDED if result["closed"] else Connection.LIVE
        return int(result["after"])

    def _fetch_picture(self, client: Client) -> None:
        view = self.view
        try:
            image = client.get_latest_image(view.most_px, view.region, saturated=True, clip=True)
        except NoAnswerError:
            raise
        except PeerError:
            return  # no frame yet, or the pixels of the frame that linking is at are gone
        if image.frame != self._last_frame:
            self._last_frame, self._last_new = image.frame, time.monotonic()
            self._picture = image

    # ---- the thread that does what is asked

    def _serve(self) -> None:
        client: Client | None = None
        while (wish := self._wishes.get()) is not None:
            what, then = wish
            try:
                client = client or Client(self.address, timeout_s=ANSWER_S, keys=self._keys)
                self._answers.put(then, what(client), "")
            except (SettingsError, PeerError) as error:
                self._answers.put(then, None, str(error))
            except Exception as error:
                self._answers.put(then, None, f"{type(error).__name__}: {error}")
        if client is not None:
            client.close()
