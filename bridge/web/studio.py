"""Pictures for all who look at the page: the newest frame, reduced and encoded once for each size that is wanted.

Works only while somebody looks. A viewer gets the next picture after it said that it has the last, always the newest.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.figures import Figures
from bridge.looking import Looker, step_for
from bridge.web.pictures import PARTICLES, PICTURE, Encoded, Stretch, head, particles
from engine.clocks import monotonic_ns
from engine.shm.wakeup import LONGEST_S

if TYPE_CHECKING:
    from bridge.web.visitors import Socket
    from engine.process import Job

MOST_VIEWERS = 32
STATISTICS_EVERY_S = 1.0
POLL_S = 0.004
SHARED = 0.6
"""A picture made so long ago, in parts of the time between two pictures, still goes to who comes late."""


class Viewer(msgspec.Struct):
    """What a client wants to see."""

    most_px: int = 1024
    quality: int = 85
    fps: float = 30.0
    paused: bool = False


class Studio:
    """Makes pictures for all viewers: takes the newest frame and encodes it once for each size."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.looker = Looker(job.rings)
        self.figures = Figures(job.rings)
        self.viewers: set[Socket] = set()
        self.shape_hw = job.experiment.camera.shape_hw
        self._stretch = Stretch()
        self._encoded: dict[int, Encoded] = {}  # by how much it is reduced

    async def serve(self) -> None:
        """Until the run stops. Without viewers it looks ten times a second whether there are any."""
        statistics_due = 0.0
        while not self._job.stopping:
            self._job.status.beat()
            if not self.viewers:
                await asyncio.sleep(LONGEST_S)
                continue
            now = time.monotonic()
            if now >= statistics_due:
                statistics_due = now + STATISTICS_EVERY_S
                self._tell_statistics()
            due = [viewer for viewer in self.viewers if viewer.is_due(now, self.looker.newest)]
            if due:
                self._show(due, now)
            # Until somebody can be due; then as often as a new frame, or a word that the last has come, is looked for.
            soonest = min((viewer.due_at for viewer in self.viewers if not viewer.wants.paused), default=now + 1)
            await asyncio.sleep(min(LONGEST_S, max(POLL_S, soonest - time.monotonic())))

    def _show(self, due: list[Socket], now: float) -> None:
        """The newest frame to everybody who is ready for one."""
        for viewer in due:
            began = time.perf_counter_ns()
            step = step_for(self.shape_hw, viewer.wants.most_px)
            encoded = self._encoded.get(step)
            # Who is late for this turn gets what the others got, instead of one more frame encoded for it alone.
            if encoded is None or encoded.place == viewer.shown or now - encoded.made_at > SHARED / viewer.wants.fps:
                encoded = self._make(step, now)
                if encoded is None:
                    continue
            picture, made = encoded.picture(viewer.wants.quality)
            viewer.send(encoded.place, now, picture, encoded.particles)
            self._job.status.count("encoded", int(made))
            self._job.status.count("pictures")
            self._job.status.count("bytes", len(picture) + len(encoded.particles))
            self._job.status.count("encode_ns", time.perf_counter_ns() - began)

    def _make(self, step: int, now: float) -> Encoded | None:
        """The newest frame in a size; None: there is none yet, or its pixels are gone."""
        look = self.looker.latest(-(-max(self.shape_hw) // step))
        if look is None or look.pixels is None:
            return None
        self._stretch.follow(look.pixels)
        drawn = head(PARTICLES, look, self.shape_hw, monotonic_ns()) + particles(look.rows)
        first = head(PICTURE, look, self.shape_hw, monotonic_ns())
        encoded = Encoded(look.place, now, first, self._stretch.apply(look.pixels), drawn)
        self._encoded[step] = encoded
        if len(self._encoded) > MOST_VIEWERS:
            self._encoded.pop(next(iter(self._encoded)))
        return encoded

    def _tell_statistics(self) -> None:
        text = as_json({"metrics": self.figures.metrics(), "viewers": len(self.viewers)})
        for viewer in list(self.viewers):
            viewer.tell(text)


def as_json(content: Any) -> str:
    """For JavaScript, which knows no NaN: null."""
    return json.dumps(_without_nan(content), default=str)


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(each) for key, each in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(each) for each in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
