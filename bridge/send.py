"""`ringtrack send`: a source of frames, and a sender that takes them to the receiver.

Plain Python: this file runs on the camera PC, whatever its operating system.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from bridge.outcomes import Outcome, Statistics
from bridge.sender import Sender
from bridge.sources import Numbering, Shot, Source, Unreadable, open_source
from bridge.wire import Answer, Verdict
from engine.accounting import CAUSE_WORDS, Cause
from engine.errors import PeerError, SettingsError
from engine.keys import keys_folder

if TYPE_CHECKING:
    from engine.process import Job

COUNTERS = ("offered", "sent", "resent", "taken", "dropped", "refused", "skipped", "gave_up", "waiting", "unreadable")
TICK_S = 0.1
CLOSE_S = 8.0  # for the last answers; a run allows its source ten seconds to leave
SILENT_S = 2.0  # without a welcome; then it is said what is waited for
KEPT_COMPLAINTS = 1000


class Keeper(Protocol):
    """Who decides what becomes of the files that are sent: an archive beside the sending."""

    def offered(self, path: Path, counter: int) -> None:
        """A file's frame is about to be sent."""
        ...

    def taken(self, path: Path) -> None:
        """The run has it (called in the sender's thread)."""
        ...

    def tick(self) -> None:
        """Called again and again."""
        ...


class Report(msgspec.Struct, frozen=True):
    """What became of a source."""

    source: str
    statistics: Statistics
    complaints: list[str]  # files that could not be read, frames that were refused; at most 1000
    complaints_total: int
    deleted: int
    seconds: float
    ended: bool  # the source came to its end (or was told to stop), and the receiver answered the bye

    def lines(self) -> list[str]:
        """The account, for people."""
        s = self.statistics
        rate = s.taken / self.seconds if self.seconds > 0 else 0.0
        lines = [
            f"{s.offered} frames from {self.source}",
            f"  taken      {s.taken}  ({rate:.1f} a second)",
            f"  dropped    {s.dropped}  (ring full)",
            f"  refused    {s.refused}",
            f"  skipped    {s.skipped}  (by the camera)",
        ]
        lines += [f"  given up   {n}  ({CAUSE_WORDS[cause]})" for cause, n in sorted(s.gave_up.items())]
        if s.resent:
            lines.append(f"  sent again {s.resent}")
        if s.offset is not None:
            lines.append(
                f"  clock      {s.offset.offset_ns / 1e6:+.3f} ms, sure to {s.offset.error_ns / 1e6:.3f} ms; "
                f"drift {s.offset.drift_ppm:+.1f} ± {s.offset.drift_error_ppm:.1f} ppm"
            )
        if not self.ended:
            lines.append(f"  the receiver did not confirm the end{': ' + s.trouble if s.trouble else ''}")
        return lines


def send(
    source: str | Source,
    address: str,
    *,
    fps: float | None = None,
    delete_sent: bool = False,
    poll: bool = False,
    watch: bool | None = None,
    numbering: Numbering = "name",
    name: str | None = None,
    patience_s: float = 5.0,
    idle_s: float = 0.0,
    connect_s: float | None = 10.0,
    truth: str | Path | None = None,
    keeper: Keeper | None = None,
    keys: Path | None = None,
    over: Callable[[], bool] = lambda: False,
    progress: Callable[[Statistics], None] = lambda statistics: None,
    complain: Callable[[str], None] = lambda text: None,
    remark: Callable[[str], None] = lambda text: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Report:
    """Send a source's frames to the receiver at `address`; returns when the source ends or `stopping()` is true.

    `fps`: the pace of a finite source (default: as fast as it is taken). `watch`: a folder is being written into; if
    False it is finished, and ends with its last file (None: watched, unless `fps` is given). `poll`: look at a watched
    folder instead of waiting for events (network drives). `idle_s`: a watched folder ends after so long without a file.
    `delete_sent`: delete a file once its frame is taken; with a `keeper` that is the keeper's. `connect_s`: how long to
    wait for the receiver (None: until `stopping`). `over` is asked once the receiver has answered: True if all was sent
    already, by a sender before this one. `truth`: where `simulated` writes its ground truth. `progress` is
    called about ten times a second, `complain` with a sentence for each file or frame that is lost, `remark` with one
    for a doubt about the source and, once, for what is waited for before its first frame. `keys`: the folder of the
    keys, for a run with `camera.encrypt`.

    Raises SettingsError (no such source), PeerError (nobody there).
    """
    if isinstance(source, str):
        text = source
        watch = fps is None if watch is None else watch
        source = open_source(text, watch=watch, poll=poll, numbering=numbering, patience_s=patience_s, idle_s=idle_s)
    save_truth = getattr(source, "save_truth", None)
    if truth is not None and save_truth is None:
        raise SettingsError("--truth: only `simulated` knows where its beads are")
    if doubt := getattr(source, "doubt", ""):
        remark(f"warning: {doubt}")
    delivery = _Delivery(
        source, address, fps, delete_sent, name, keeper, keys, over, progress, complain, remark, stopping
    )
    try:
        report = delivery.run(connect_s)
    finally:
        source.close()
    if truth is not None and save_truth is not None:
        save_truth(Path(truth))
    return report


class _Delivery:
    """One run of a source through a sender."""

    def __init__(
        self, source: Source, address: str, fps: float | None, delete_sent: bool, name: str | None,
        keeper: Keeper | None, keys: Path | None, over: Callable[[], bool], progress: Callable[[Statistics], None],
        complain: Callable[[str], None], remark: Callable[[str], None], stopping: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._source = source
        self._fps = fps
        self._delete_sent = delete_sent
        self._keeper = keeper
        self._over = over
        self._progress = progress
        self._complain = complain
        self._remark = remark
        self._remarked: set[str] = set()
        self._stopping = stopping
        self._complaints: list[str] = []
        self._complaints_total = 0
        self._to_delete: list[Path] = []
        self._deleted = 0
        self._told = 0.0
        self._started = 0.0  # with the first frame: a simulation takes a while to prepare
        kind = source.kind()
        shape, dtype = kind if kind is not None and all(kind[0]) and kind[1] else (None, "")
        room = 64 if source.live and source.waits else None  # files wait in their folder
        self._sender = Sender(
            address, source=(name or source.name)[:200], live=source.live and not source.waits, fps=fps or 0.0,
            shape=shape, dtype=dtype, on_done=self._done, buffer_frames=room, keys=keys,
        )  # fmt: skip

    def run(self, connect_s: float | None) -> Report:
        with self._sender as sender:
            welcome = self._connect(connect_s)
            if welcome is not None and not self._over():
                self._frames(welcome)
                self._answers()
            statistics = sender.close(CLOSE_S if welcome is not None else 0.0)
        self._delete()
        seconds = time.monotonic() - self._started if self._started else 0.0
        return Report(
            self._sender._hello.source, statistics, self._complaints, self._complaints_total, self._deleted,
            seconds, statistics.closed,
        )  # fmt: skip

    def _connect(self, connect_s: float | None) -> Answer | None:
        """Wait for the welcome; None if told to stop before it."""
        began = time.monotonic()
        end = None if connect_s is None else began + connect_s
        while not self._stopping():
            with contextlib.suppress(PeerError):
                return self._sender.connect(TICK_S)
            if self._sender.unfit or (end is not None and time.monotonic() > end):
                self._sender.close(0.0)
                raise self._sender.not_welcome(connect_s or 0.0)
            if time.monotonic() - began > SILENT_S:
                self._say_why(self._sender.statistics.trouble)
            self._tick()
        return None

    def _say_why(self, trouble: str) -> None:
        """Say what is waited for, once: how long ago another source spoke is no news."""
        what = trouble.partition(",")[0]
        if what not in self._remarked:
            self._remarked.add(what)
            self._remark(f"waiting: {trouble}")

    def _frames(self, welcome: Answer) -> None:
        first, started = None, time.monotonic()
        for found in self._source.frames(welcome):
            if self._stopping():
                return
            if isinstance(found, Unreadable):
                self._say(f"{found.what}: {found.why}")
                if found.counter is not None:
                    self._sender.give_up(found.counter, Cause.FILE_UNREADABLE)
            elif found is not None:
                if self._fps and not self._source.live:
                    first = found.counter if first is None else first
                    if not self._pause(started + (found.counter - first) / self._fps):
                        return
                if not self._offer(found):
                    return
            self._tick()
            self._delete()

    def _answers(self) -> None:
        """Wait for the last answers of a source that waits: as long as tracking takes, if the receiver is there."""
        heard = time.monotonic()
        while self._source.waits and not self._stopping() and not self._sender.flush(TICK_S):
            if self._sender.statistics.connected:
                heard = time.monotonic()
            elif time.monotonic() - heard > CLOSE_S:
                return
            self._tick()

    def _offer(self, shot: Shot) -> bool:
        """Hand a frame over. False if told to stop before there was room."""
        self._started = self._started or time.monotonic()
        while self._source.waits and not self._sender.wait_for_room(TICK_S):
            self._tick()
            if self._stopping():
                return False
        if self._keeper is not None and shot.path is not None:
            self._keeper.offered(shot.path, shot.counter)
        self._sender.send(
            shot.image, shot.counter, shot.t_ns, t_error_ns=shot.t_error_ns, time_source=shot.time_source,
            copy=shot.copy, token=shot.path, file_name=_short(shot.file_name), extra=shot.extra,
            **shot.header,
        )  # fmt: skip
        return True

    def _pause(self, until: float) -> bool:
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, TICK_S))
            self._tick()
            if self._stopping():
                return False
        return True

    def _done(self, outcome: Outcome) -> None:
        """A frame is over (called in the sender's thread)."""
        if outcome.verdict is Verdict.TAKEN:
            if outcome.token is None:
                return
            if self._keeper is not None:
                self._keeper.taken(outcome.token)
            elif self._delete_sent:
                self._to_delete.append(outcome.token)
        elif outcome.verdict is Verdict.REFUSED:  # a dropped one is counted, and the account says so
            self._say(outcome.why)

    def _delete(self) -> None:
        """Delete the files whose frames were taken. What is still locked is tried again."""
        again = []
        while self._to_delete:
            path = self._to_delete.pop()
            try:
                path.unlink(missing_ok=True)
                self._deleted += 1
            except OSError:
                again.append(path)
        self._to_delete.extend(again)

    def _say(self, text: str) -> None:
        self._complaints_total += 1
        if len(self._complaints) < KEPT_COMPLAINTS:
            self._complaints.append(text)
        self._complain(text)

    def _tick(self) -> None:
        if self._keeper is not None:
            self._keeper.tick()
        if time.monotonic() - self._told > TICK_S:
            self._told = time.monotonic()
            self._progress(self._sender.statistics)


def main(job: Job) -> int:
    """Send from within a run (`ringtrack run --source`): the arguments of `send` come from the job's options."""
    options: dict[str, Any] = dict(job.options)
    return deliver(job, options.pop("source"), **options)


def deliver(job: Job, source: str | Source, **options: Any) -> int:
    """Send a source's frames as a process of the run that takes them; the exit status."""
    status = job.status
    status.ready()
    one_before = bool(status.counters().get("offered", 0))

    def over() -> bool:
        """Whether the sender before this one died after its bye. The receiver may hear of a bye when he is dead."""
        return one_before and bool(job.rings.block("receiver").counters().get("byes", 0))

    if over():
        return 0

    def stopping() -> bool:
        status.beat()
        return job.stopping

    def progress(statistics: Statistics) -> None:
        _count(job, statistics)

    def complain(text: str) -> None:
        status.count("unreadable")
        job.log("warning", text)

    camera = job.experiment.camera
    report = send(
        source, local(camera.listen), keys=keys_folder() if camera.encrypt else None, over=over, progress=progress,
        complain=complain, stopping=stopping, **options,
    )  # fmt: skip
    _count(job, report.statistics)
    job.log("info", "the source has ended", account=report.lines())
    if not report.ended and not job.stopping:
        raise PeerError(f"{report.source}: {report.lines()[-1].strip()}")
    return 0


def local(listen: str) -> str:
    """The address at which this machine reaches a receiver that listens there."""
    return listen.replace("://*:", "://127.0.0.1:").replace("://0.0.0.0:", "://127.0.0.1:")


def _count(job: Job, statistics: Statistics) -> None:
    for name in ("offered", "sent", "resent", "taken", "dropped", "refused", "skipped", "waiting"):
        job.status.set(name, getattr(statistics, name))
    job.status.set("gave_up", sum(statistics.gave_up.values()))


def _short(name: str) -> str:
    """A file's name, cut at the front to what a header takes."""
    while len(name.encode()) > 120:
        name = name[1:]
    return name
