"""The desk of the control server: what each request means for the run, and its answer."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge import control_wire as wire
from bridge.backgrounds import Backgrounds
from bridge.figures import Figures
from bridge.looking import Look, Looker
from bridge.slm.orders import ANSWER_S, Errand
from bridge.stacks import StackWriter
from bridge.takes import RecordingDesk
from bridge.trace import Tracer
from bridge.tuning import Tuning
from engine.clocks import monotonic_ns
from engine.errors import PeerError, SettingsError
from engine.live import LIVE_KEYS
from engine.process import Log
from engine.shm.ring import OverrunError

if TYPE_CHECKING:
    from engine.process import Job

FRAME_WAIT_S = 0.5
"""So long the answer to a change waits for the first frame that is tracked with it."""
LOG_TAIL_BYTES = 1 << 18
LARGEST_RESULTS = 16 << 20
"""Bytes of rows in one answer; the client asks for the rest. Of answers that nobody reads some are kept."""

Found = tuple[dict[str, Any], dict[str, NDArray[Any]]]


class Later(Exception):
    """Raised by a handler whose answer has to wait."""

    def __init__(self, poll: Callable[[bool], Found | None], wait_s: float) -> None:
        self.poll, self.wait_s = poll, wait_s


class Desk:
    """Answers requests; knows nothing of sockets."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._looker = Looker(job.rings)
        self._figures = Figures(job.rings)
        self._tuning = Tuning(job.rings)
        self._place_before = 0  # the newest frame when the request in hand came
        self._tracer: tuple[Tracer, Path] | None = None
        self._writing: threading.Thread | None = None  # of a trace: a second's work for a minute of frames
        self._stack: StackWriter | None = None
        self.recording = RecordingDesk(job, self._tuning, self._looker, self._write_event)
        self.backgrounds = Backgrounds(job, self._tuning, self._write_event)
        self._errand = Errand(job.run_id)

    def close(self) -> None:
        self._errand.close()

    def handle(self, request: wire.AnyRequest) -> Found:
        """The result and its arrays. Raises Later, SettingsError (what was asked for is wrong), RingtrackError."""
        # Frames may be stamped with a change before we are done with it: its first one is looked for from here on.
        self._place_before = max(0, self._job.frames.newest)
        answer: Callable[[wire.AnyRequest], Found] = getattr(self, f"_{type(request).__name__.lower()}")
        return answer(request)

    def _hello(self, _: wire.Hello) -> Found:
        plan = self._job.plan
        return {
            "name": plan.experiment.experiment.name,
            "run_folder": plan.run_folder,
            "started_utc_ns": plan.started_utc_ns,
            "camera": msgspec.to_builtins(plan.experiment.camera),
            "source": next((p.options.get("source") for p in plan.processes if p.kind == "source"), None),
            "live_keys": list(LIVE_KEYS),
            "settings": self._tuning.live.newest,
        }, {}

    def _getsettings(self, request: wire.GetSettings) -> Found:
        return self._tuning.describe(request.version), {}

    def _setsettings(self, request: wire.SetSettings) -> Found:
        return self._changed(*self._tuning.change(request.values))

    def _undo(self, _: wire.Undo) -> Found:
        return self._changed(*self._tuning.undo(), undone=True)

    def _changed(self, version: int, changes: dict[str, Any], undone: bool = False) -> Found:
        """Note it in the run, then wait for the first frame that says it was tracked with this version."""
        if not changes:  # it is so already: no new version, nothing to note
            return self._tuning.describe(version) | {"from_frame": None, "changes": {}}, {}
        self._job.status.count("changes")
        text = ", ".join(f"{key} = {value}" for key, value in changes.items())
        back = " (undone: as before)" if undone else ""
        self._write_event(
            "settings changed", f"settings version {version}: {text}{back}", version=version, changes=changes
        )
        raise self._at_its_first_frame(version, self._tuning.describe(version) | {"changes": changes})

    def _record(self, request: wire.Record) -> Found:
        desk = self.recording
        if request.action == "start":
            version = desk.start(request.name, request.before_s, request.for_s)
        elif request.action == "resume":
            version = desk.resume()
        elif request.action == "crops":
            version = desk.choose(request.name)
        else:
            version = desk.stop(paused=request.action == "pause")
        now = desk.now
        raise self._at_its_first_frame(version, msgspec.to_builtins(now) | {"state": now.state})

    def _storage(self, request: wire.Storage) -> Found:
        before = self._tuning.live.newest
        version = self.recording.switch(request.values)
        if version == before:  # it is so already
            return {"outputs": self.recording.outputs, "version": version, "from_frame": None}, {}
        self._job.status.count("changes")
        raise self._at_its_first_frame(version, {"outputs": self.recording.outputs})

    def _at_its_first_frame(self, version: int, facts: dict[str, Any]) -> Later:
        """The answer to a change: the version, and the first frame that came under it, once there is one."""
        first_place = self._place_before
        facts = facts | {"version": version}

        def poll(over: bool) -> Found | None:
            frames = self._job.frames
            for place in range(first_place, frames.newest + 1):
                meta = frames.record(place)
                if meta["settings"][0] >= version and frames.is_there(place):
                    return facts | {"from_frame": int(meta["frame"][0])}, {}
            return (facts | {"from_frame": None}, {}) if over else None

        return Later(poll, FRAME_WAIT_S)

    def _preview(self, request: wire.Preview) -> Found:
        look = self._looker.latest()
        if look is None or look.pixels is None:
            raise PeerError(self._why_nothing())
        rows, meta = self._tuning.preview(request.values, look.pixels, lambda: self._job.status.beat())
        return {"frame": look.meta["frame"], "place": look.place, "rows": len(rows), **meta}, {"rows": rows}

    def _latest(self, request: wire.Latest) -> Found:
        if request.region is not None and not request.clip:
            self._refuse_outside(request.region)
        look = self._looker.latest(request.most_px, request.image, request.region, request.saturated)
        if look is None:
            raise PeerError(self._why_nothing())
        arrays: dict[str, NDArray[Any]] = {"rows": look.rows}
        if look.pixels is not None:
            arrays["pixels"] = look.pixels
        if look.saturated is not None:
            arrays["saturated"] = look.saturated
        return {"place": look.place, "step": look.step, "corner": look.corner_yx, "meta": look.meta}, arrays

    def _refuse_outside(self, region: tuple[int, int, int, int]) -> None:
        """A region that is not in the frame has other pixels than who asks for it thinks."""
        height, width = self._job.experiment.camera.shape_hw
        y0, y1, x0, x1 = region
        if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
            raise SettingsError(
                f"region: {list(region)} is not a part of the frame; it must be [y0, y1, x0, x1] with "
                f"0 <= y0 < y1 <= {height} (rows) and 0 <= x0 < x1 <= {width} (columns)"
            )

    def _why_nothing(self) -> str:
        behind = self._job.frames.newest - self._looker.newest
        if self._looker.newest < 0:
            return "there is no frame yet"
        return f"linking is {behind} frames behind, and the pixels of the frame that it is at are gone; try again"

    def _results(self, request: wire.Results) -> Found:
        looker = self._looker
        after = request.after
        if after is None:
            after = looker.newest if request.from_frame is None else looker.place_of(request.from_frame) - 1
        start = after + 1

        def poll(over: bool) -> Found | None:
            nonlocal start
            newest = looker.newest
            if newest < start and not over:
                return None
            first = max(start, looker.first_kept()) if newest - start >= self._job.results.slots - 1 else start
            looks: list[Look] = []
            next_place, closed, size = first, False, 0
            for place in range(first, min(newest, first + request.most - 1) + 1):
                if size > LARGEST_RESULTS:
                    break
                try:
                    look = looker.result(place)
                except OverrunError:
                    looks, first, size = [], place + 1, 0  # the ring went on under us: what is in order counts
                    next_place = place + 1
                    continue
                next_place = place + 1
                if look is None:
                    closed = True
                elif request.from_frame is None or look.meta["frame"] >= request.from_frame:
                    looks.append(look)
                    size += look.rows.nbytes
            if not (looks or closed or over or first > start):
                start = next_place  # all of them were before the frame that is asked for
                return None
            rows = [look.rows for look in looks]
            arrays = {"rows": np.concatenate(rows)} if rows else {}
            frames = [{"place": look.place, "rows": len(look.rows), **_times(look)} for look in looks]
            return {
                "after": next_place - 1, "missed": first - start, "closed": closed, "frames": frames,
            }, arrays  # fmt: skip

        found = poll(False)
        if found is not None:
            return found
        raise Later(poll, request.wait_s)

    def _metrics(self, _: wire.Metrics) -> Found:
        return self._figures.metrics(), {}

    def _accounting(self, _: wire.Accounting) -> Found:
        return {"steps": self._figures.accounting(), "lost": self._figures.losses()}, {}

    def _mark(self, request: wire.Mark) -> Found:
        frame = self._looker.latest(image=False)
        number = -1 if frame is None else frame.meta["frame"]
        self._write_event("mark", request.text, frame=number)
        return {"frame": number}, {}

    def _note(self, request: wire.Note) -> Found:
        self._write_event("note", request.text)
        return {}, {}

    def _trace(self, request: wire.Trace) -> Found:
        if self._tracer is not None or self._writing is not None:
            raise PeerError("a trace is being written already")
        path = _free_name(self._job.run_folder, "trace", ".json")
        self._tracer = Tracer(self._job.rings, request.seconds), path
        return {"file": str(path)}, {}

    def _savestack(self, request: wire.SaveStack) -> Found:
        self.go_on()
        if self._stack is not None:
            raise PeerError(f"{self._stack.path.name} is being written; one after the other")
        path = _free_name(self._job.run_folder, request.name, ".tif")
        self._stack = StackWriter(self._job.rings, path, request.count)
        self._stack.start()
        return {"file": str(path)}, {}

    def go_on(self, ending: bool = False) -> None:
        """What takes longer than an answer: traces and stacks. `ending`: close them now."""
        if self._tracer is not None:
            tracer, path = self._tracer
            if tracer.step() or ending:
                self._tracer = None
                self._writing = threading.Thread(target=self._write_trace, args=(path, tracer), name="trace")
                self._writing.start()
        if self._writing is not None and (ending or not self._writing.is_alive()):
            self._writing.join()
            self._writing = None
        if self._stack is not None and (ending or self._stack.done):
            stack, self._stack = self._stack, None
            stack.stop()
            if stack.error:
                self._job.log("error", f"{stack.path.name}: {stack.error}")
            else:
                self._job.log("info" if stack.written else "warning", stack.said)

    def _write_trace(self, path: Path, tracer: Tracer) -> None:
        """It has its name when it is whole. In a thread of its own: answers do not wait for it."""
        part = path.with_name(path.name + ".part")
        try:
            part.write_bytes(tracer.encode())
            part.replace(path)
        except OSError as error:
            self._job.log("error", f"{path.name} could not be written: {error.strerror or error}")
        else:
            self._job.log("info", f"{path.name} has {tracer.frames} frames: open it at ui.perfetto.dev")

    def _loglines(self, request: wire.LogLines) -> Found:
        return {"lines": log_tail(self._job.run_folder / "log.jsonl", request.lines)}, {}

    def _slm(self, request: wire.Slm) -> Found:
        if not self._job.experiment.slm.enabled:
            raise SettingsError("slm.enabled is false in this run")
        number = self._errand.send(request.order, request.values)

        def poll(over: bool) -> Found | None:
            found = self._errand.poll(number, over)
            return None if found is None else (found, {})

        raise Later(poll, ANSWER_S)

    def _stop(self, _: wire.Stop) -> Found:
        self._write_event("stop asked", "a control client asked the run to stop")
        os.kill(self._job.plan.pid, signal.SIGTERM)
        return {}, {}

    def _write_event(self, kind: str, message: str, **facts: Any) -> None:
        self._job.log("info", message, event=kind)
        note = Log(self._job.run_folder / "events.jsonl", "control")
        note("info", message, event=kind, t_ns=monotonic_ns(), **facts)


def _times(look: Look) -> dict[str, int]:
    names = ("frame", "sequence", "settings", "t_camera_ns", "t_received_ns", "t_tracked_ns", "t_published_ns", "state")
    return {name: look.meta[name] for name in names}


def _free_name(folder: Path, stem: str, suffix: str) -> Path:
    """A file in the run's folder that is not there yet."""
    number, path = 1, folder / f"{stem}{suffix}"
    while path.exists() or path.with_suffix(".part").exists():
        number += 1
        path = folder / f"{stem}_{number}{suffix}"
    return path


def log_tail(path: Path, lines: int) -> list[dict[str, Any]]:
    """The last lines of a log, oldest first; [] if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            found = file.read().splitlines()[-lines:]
    except OSError:
        return []
    parsed = []
    for line in found:
        try:
            parsed.append(json.loads(line))
        except ValueError:
            continue  # cut by where we began
    return parsed
