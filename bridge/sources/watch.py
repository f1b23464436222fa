"""A folder that camera software writes into: a live source, one frame a file, in the order of their numbers.

One scan of the folder is the truth; events of the file system only wake it, and on network drives, which send none, it
is looked at every 50 ms (`poll`). A file counts when it is complete:

    its TIFF directory parses, and its last strip ends inside the file, and
    its size and time stood still for two looks, or the file system said that it was closed or moved into place.

So it does not matter whether the software writes in pieces, renames, or keeps the file locked for a while. A file that
does not get complete, or is no TIFF, is waited for (`patience_s` after its last change), then reported and given up.

A number that is missing was skipped by the camera, once a later file has waited `GAP_S` for it; should its file come
after all, that is reported. Any other number that is not higher than the last (*save* pressed again) starts the count
again. A file whose name has no number is reported and not given: nobody knows where it belongs.

The folder is the buffer: what cannot be sent yet stays in it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bridge.filetimes import FileTimes
from bridge.sources.base import Shot, Unreadable, name_of
from bridge.sources.tiff import NotWholeError, WrongKindError, is_candidate, number_of, read_frame
from bridge.wire import Answer
from engine.clocks import NS, UtcOffset, measure_utc_offset, monotonic_ns
from engine.frames import TimeSource

POLL_S = 0.05
SLOW_SCAN_NS = 5_000_000
LOOK_AGAIN_NS = 10_000_000  # two looks are at least so far apart
GAP_S = 0.25
REMEASURE_NS = 30 * NS
MISSING_KEPT = 1000
FULL_LOOK_NS = 1 * NS  # known files are looked at as often, to see whether they were written anew
MANY_FILES = 20_000  # ... in folders that have no more of them; beyond, events alone tell
Stamp = tuple[int, int]  # size, time of the last change


class _Candidate:
    """A file that is not sent yet."""

    __slots__ = ("closed", "complete_ns", "number", "path", "seen_ns", "stamp", "steady_ns")

    def __init__(self, path: Path, number: int, stamp: Stamp, now_ns: int) -> None:
        self.path, self.number, self.stamp = path, number, stamp
        self.seen_ns = now_ns  # of its last change
        self.steady_ns = -1  # a later look that found it unchanged
        self.complete_ns = -1
        self.closed = False


class WatchedFolder:
    """See the module. Clock and sleep are injected by tests."""

    live = True
    waits = True

    def __init__(
        self, path: Path, *, poll: bool = False, patience_s: float = 5.0, idle_s: float = 0.0,
        clock: Callable[[], int] = monotonic_ns, pixels: bool = True,
    ) -> None:  # fmt: skip
        """`pixels`: False, they are not read: for who wants to know which files are complete."""
        self.path = path
        self._pixels = pixels
        self.name = name_of("folder", path)
        self._poll = poll
        self._patience_ns = round(patience_s * NS)
        self._idle_ns = round(idle_s * NS)
        self._clock = clock
        self._bell = threading.Event()
        self._told: set[str] = set()  # names that an event was about
        self._closed: set[str] = set()  # ... and of those, which were closed or moved into place
        self._lock = threading.Lock()
        self._observer: Any = None
        self._waiting: dict[str, _Candidate] = {}
        self._unnumbered: dict[str, _Candidate] = {}  # files whose names have none
        self._handled: dict[str, Stamp] = {}
        self._full_look_ns = -FULL_LOOK_NS
        self._last = -1  # number of the last file given
        self._missing: list[tuple[int, int]] = []  # numbers that were taken for skipped, since the count began
        self._scan_ns = 0  # how long the last scan took
        self._times = FileTimes()
        self._utc: UtcOffset | None = None

    # ---- Source

    def frames(self, welcome: Answer) -> Iterator[Shot | Unreadable | None]:
        """Frames from the number `welcome.resume` on; those before were taken from an earlier start of this sender."""
        if not self._poll:
            self._observer = _observe(self.path, self._event)
        if welcome.resume > 0:
            self._last = welcome.resume - 1
            self._pass_over(welcome.resume)
        idle_since = self._clock()
        while True:
            self._bell.clear()
            given = False
            for found in self.look():
                given = True
                yield found
            now = self._clock()
            if given:
                idle_since = now
                continue
            if self._idle_ns and now - idle_since > self._idle_ns and not (self._waiting or self._unnumbered):
                return
            yield None
            self._bell.wait(POLL_S if self._poll or self._waiting or self._unnumbered else 2 * POLL_S)
            if self._scan_ns > SLOW_SCAN_NS:  # a hundred thousand files: scan for a quarter of the time at most
                time.sleep(min(0.1, 3 * self._scan_ns / NS))

    def kind(self) -> None:
        """What is in the folder now says little of what will come."""

    def close(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    # ---- one look

    def look(self) -> Iterator[Shot | Unreadable]:
        """Scan the folder once and give what is complete and next in order."""
        started = self._clock()
        self._scan()
        self._scan_ns = self._clock() - started
        while (found := self._next()) is not None:
            yield found
        for one in [one for one in self._unnumbered.values() if one.closed or one.steady_ns >= 0]:
            del self._unnumbered[one.path.name]
            self._handled[one.path.name] = one.stamp
            yield Unreadable(counter=None, what=one.path.name, why="its name has no number: which frame is it?")

    def _scan(self) -> None:
        now = self._clock()
        with self._lock:
            told, closed = self._told, self._closed
            self._told, self._closed = set(), set()
        due = now - self._full_look_ns >= FULL_LOOK_NS
        full = due and len(self._handled) <= MANY_FILES
        if due:
            self._full_look_ns = now
        there = set()
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if not is_candidate(entry.name):
                        continue
                    there.add(entry.name)
                    if entry.name in self._handled and not full and entry.name not in told:
                        continue
                    with contextlib.suppress(OSError):
                        self._see(entry.name, Path(entry.path).stat(), entry.name in closed, now)
        except OSError:
            return  # a network drive that is away for a while
        for waiting in (self._waiting, self._unnumbered):
            for name in [name for name in waiting if name not in there]:
                del waiting[name]
        if due:  # also of more files than are looked at: an archive deletes them by the million
            for name in [name for name in self._handled if name not in there]:
                del self._handled[name]

    def _see(self, name: str, stat: os.stat_result, closed: bool, now: int) -> None:
        stamp = (stat.st_size, stat.st_mtime_ns)
        if self._handled.get(name) == stamp:
            return
        candidate = self._waiting.get(name) or self._unnumbered.get(name)
        if candidate is None:
            number = number_of(name)
            candidate = _Candidate(self.path / name, -1 if number is None else number, stamp, now)
            (self._unnumbered if number is None else self._waiting)[name] = candidate
        elif candidate.stamp != stamp:
            candidate.stamp, candidate.seen_ns, candidate.steady_ns = stamp, now, -1
        elif now - candidate.seen_ns >= LOOK_AGAIN_NS:
            candidate.steady_ns = now
        candidate.closed = candidate.closed or closed

    def _next(self) -> Shot | Unreadable | None:
        """The next file in order, if it is ready."""
        later = [one for one in self._waiting.values() if one.number > self._last]
        if not later:
            return self._from_before()
        candidate = min(later, key=lambda one: (one.number, one.path.name))
        now = self._clock()
        if self._last >= 0 and candidate.number > self._last + 1 and now - candidate.seen_ns < GAP_S * NS:
            return None  # the one before it may still come
        return self._try(candidate, now)

    def _from_before(self) -> Shot | Unreadable | None:
        """Files whose number was passed already: written anew, or too late."""
        if not self._waiting:
            return None
        waiting = list(self._waiting.values())
        if not all(any(a <= one.number <= b for a, b in self._missing) for one in waiting):
            self._last, self._missing = -1, []  # the camera counts anew
            return self._next()
        one = waiting[0]
        if one.steady_ns < 0 and not one.closed:
            return None
        self._done(one)
        return Unreadable(counter=None, what=one.path.name, why=f"it came after number {self._last} had been sent")

    def _try(self, candidate: _Candidate, now: int) -> Shot | Unreadable | None:
        why = "it is still being written"
        if candidate.closed or candidate.steady_ns >= 0:
            try:
                image = read_frame(candidate.path) if self._pixels else read_frame(candidate.path, pixels=False)
                stat = candidate.path.stat()
                if (stat.st_size, stat.st_mtime_ns) == candidate.stamp:
                    return self._shot(candidate, image)
            except WrongKindError as error:
                return self._give_up(candidate, str(error))
            except NotWholeError as error:
                why = str(error)
            except FileNotFoundError:
                self._waiting.pop(candidate.path.name, None)
                return None
            except OSError as error:  # still locked by the camera software
                why = str(error)
            candidate.closed = False
        if now - candidate.seen_ns > self._patience_ns:
            return self._give_up(candidate, f"unchanged for {self._patience_ns / NS:g} s: {why}")
        return None

    # ---- results

    def _shot(self, candidate: _Candidate, image: Any) -> Shot:
        self._pass_on(candidate)
        fitted = self._times.add(candidate.number, candidate.stamp[1])
        utc = self._utc_offset()
        return Shot(
            image=image, counter=candidate.number, t_ns=utc.from_utc_ns(fitted.t_ns),
            t_error_ns=fitted.error_ns + utc.error_ns, time_source=TimeSource.FILE,
            file_name=candidate.path.name, path=candidate.path, copy=False,
        )  # fmt: skip

    def _give_up(self, candidate: _Candidate, why: str) -> Unreadable:
        self._pass_on(candidate)
        return Unreadable(counter=candidate.number, what=candidate.path.name, why=why)

    def _pass_on(self, candidate: _Candidate) -> None:
        """The candidate is the newest one given."""
        self._done(candidate)
        if self._last >= 0 and candidate.number > self._last + 1:
            self._missing.append((self._last + 1, candidate.number - 1))
            del self._missing[:-MISSING_KEPT]
        self._last = candidate.number

    def _done(self, candidate: _Candidate) -> None:
        self._waiting.pop(candidate.path.name, None)
        self._handled[candidate.path.name] = candidate.stamp

    def _pass_over(self, resume: int) -> None:
        with os.scandir(self.path) as entries:
            for entry in entries:
                number = number_of(entry.name) if is_candidate(entry.name) else None
                if number is not None and number < resume:
                    stat = Path(entry.path).stat()
                    self._handled[entry.name] = (stat.st_size, stat.st_mtime_ns)

    def _utc_offset(self) -> UtcOffset:
        now = self._clock()
        if self._utc is None or now - self._utc.t_ns > REMEASURE_NS:
            self._utc = measure_utc_offset(mono=self._clock)
        return self._utc

    def _event(self, name: str, closed: bool) -> None:
        """The file system says that something is new (called in watchdog's thread)."""
        with self._lock:
            self._told.add(name)
            if closed:
                self._closed.add(name)
        self._bell.set()


def _observe(path: Path, tell: Callable[[str, bool], None]) -> Any:
    from watchdog import events
    from watchdog.events import FileClosedEvent, FileMovedEvent, FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    ours = (events.FileOpenedEvent, getattr(events, "FileClosedNoWriteEvent", events.FileOpenedEvent))  # our reading

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if event.is_directory or isinstance(event, ours):
                return
            moved = isinstance(event, FileMovedEvent)
            name = os.fsdecode(event.dest_path if moved else event.src_path)
            if is_candidate(Path(name).name):
                tell(Path(name).name, moved or isinstance(event, FileClosedEvent))

    observer = Observer()
    observer.schedule(Handler(), str(path), recursive=False)
    observer.start()
    return observer
