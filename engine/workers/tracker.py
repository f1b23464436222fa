"""A tracker: claims units of work and does them, until it is told to stop.

Any tracker may take any unit of any place in work; see `engine.shm.units` for how they agree and what happens when one
dies. The last unit of a place writes the record and the rows of its result.
"""

from __future__ import annotations

import time
from typing import Any

from engine.clocks import monotonic_ns
from engine.errors import InternalError
from engine.experiment import Tracking
from engine.frames import Kind
from engine.live import LiveSettings
from engine.process import Job
from engine.rows import RESULT_META, State
from engine.shm.steps import Steps, run
from engine.shm.units import OldestUnfinished, Unit
from engine.shm.wakeup import LONGEST_S, wait_for
from engine.workers.configure import detector_for
from engine.workers.corrected import CorrectedDetector
from engine.workers.detector import Detector, units_of_steps
from engine.workers.moving_background import load_background

COUNTERS = ("units", "frames", "failures", "busy_ns")
DETECTORS_KEPT = 4
_INHERITED_BYTES = dict(RESULT_META.fields or {})["t_tracked_ns"][1]


class Tracker:
    """Does units of work; `worker` is its number among the run's workers."""

    def __init__(self, job: Job, detector: Detector) -> None:
        self._job = job
        self._rings = job.rings
        self._settings = LiveSettings(self._rings)
        # By version, with what it was made for: tracking, and the path of a background that moves.
        self._detectors: dict[int, tuple[tuple[Tracking, str], Detector]] = {
            1: ((job.experiment.tracking, ""), detector)
        }
        units_of_step = units_of_steps(detector)
        if units_of_step != self._rings.units.layout.units_of_step:  # each process chooses tiles, from what it sees
            raise InternalError("this process would cut frames into other units than the run does")
        self._last_step = len(units_of_step) - 1
        self._worker = job.process.worker
        self._incarnation = self._rings.units.incarnation(self._worker)
        self._frames = self._rings.frames  # mapped now: a spare that has to map them first is not warm
        self.look_from_here()

    def look_from_here(self) -> None:
        """Look for work from the newest result on; a spare may have waited for millions of places."""
        self._oldest = OldestUnfinished(self._rings.units, self._rings.results.newest + 1)

    def step(self) -> bool:
        """Do one unit; False if none turned up within `LONGEST_S`."""
        job, units = self._job, self._rings.units
        unit = wait_for(units.work, self._claim, LONGEST_S, job.status.beat)
        job.status.beat()
        if unit is None:
            return False
        started = time.perf_counter_ns()
        try:
            run(self._work(unit))
        except Exception as error:
            job.log_exception(error)
            job.status.count("failures")
            units.failed(unit)
            return True
        run(units.done(unit, self._newest))
        if unit.step == self._last_step:
            self._frames.released.ring()  # the receiver may wait for this slot
        job.status.count("units")
        job.status.count("busy_ns", time.perf_counter_ns() - started)
        return True

    def _newest(self) -> int:
        return self._frames.newest

    def _claim(self) -> Unit | None:
        newest = self._newest()
        return run(self._rings.units.claim(self._oldest.look(newest), newest, self._worker, self._incarnation))

    def _work(self, unit: Unit) -> Steps[None]:
        """Step 3 of a unit; for the last one, steps 2 and 3 of its result."""
        rings, place = self._rings, unit.place
        frame = rings.frames.record(place)
        no_pixels = frame["kind"][0] == Kind.CLOSING
        if unit.step < self._last_step:
            if not no_pixels:
                self._detect(unit, frame, None, None)
            return
        results = rings.results
        yield "result.2"
        results.invalidate(place)
        yield "result.3"
        meta = results.record(place)
        meta.view("u1")[:_INHERITED_BYTES] = frame.view("u1")[:_INHERITED_BYTES]
        meta.view("u1")[_INHERITED_BYTES:] = 0
        if unit.mark_only or no_pixels:
            meta["state"] = State.FAILED if unit.mark_only else State.TRACKED
        else:
            self._detect(unit, frame, results.payload(place), meta)
        meta["attempts"] = rings.units.attempts(place)
        meta["t_tracked_ns"] = monotonic_ns()
        self._job.status.count("frames")

    def _detector_of(self, version: int) -> Detector:
        """The detector for the settings that the frame was stamped with."""
        if version not in self._detectors:
            settings = self._settings.version(version)
            wanted = settings.tracking, settings.background
            found = self._known(*wanted) or detector_for(self._settings.experiment(version))
            if len(self._detectors) >= DETECTORS_KEPT:
                del self._detectors[min(self._detectors)]
            self._detectors[version] = wanted, found
        return self._detectors[version][1]

    def _known(self, tracking: Tracking, background: str) -> Detector | None:
        """A detector that is there, or differs from it by its background alone."""
        alike = {path: detector for (same, path), detector in self._detectors.values() if same == tracking}
        if background in alike or not alike:
            return alike.get(background)
        one = next(iter(alike.values()))
        assert isinstance(one, CorrectedDetector)
        return one.with_background(load_background(background), self._job.experiment.correction.offset)

    def _detect(self, unit: Unit, frame: Any, rows: Any, meta: Any) -> None:
        detector = self._detector_of(int(frame["settings"][0]))
        pixels, scratch = self._rings.frames.payload(unit.place), self._rings.scratch(unit.place)
        for step in (unit.step,) if self._last_step else range(len(detector.steps)):
            detector.run(step, unit.index, pixels, scratch, rows, meta)


def main(job: Job) -> None:
    """Load the kernels, wait as the spare if there are enough others, then work."""
    detector = detector_for(job.experiment)
    detector.warm()
    tracker = Tracker(job, detector)
    if not job.wait_as_spare():
        return
    tracker.look_from_here()
    while not job.stopping:
        tracker.step()
