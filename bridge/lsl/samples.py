"""From a frame's record and rows to the samples of the streams: arithmetic, no LSL."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bridge.lsl.describe import ROW_FIELDS, in_micrometers
from bridge.lsl.groups import ChannelGroups
from engine.accounting import LOSS
from engine.experiment import Experiment

Samples = npt.NDArray[np.float64]
_LENGTHS = ("x", "y", "vx", "vy")


class FrameSamples(NamedTuple):
    """What one frame becomes."""

    particles: Samples  # (1, 1 + groups * (1 + fields))
    rows: Samples | None  # (rows, 2 + fields)
    events: list[str]
    overflow: int


class Sampler:
    """Keeps the channel groups and makes samples. The arrays it gives are its own, good until the next frame."""

    def __init__(self, experiment: Experiment) -> None:
        lsl = experiment.lsl
        self.groups = ChannelGroups(
            lsl.groups, memory=experiment.linking.memory, rest=lsl.rest_frames, reserved=lsl.reserved
        )
        self._fields = lsl.fields
        self._scale = [
            experiment.camera.pixel_um if in_micrometers(experiment) and field in _LENGTHS else 1.0
            for field in lsl.fields
        ]
        self._sample = np.full((1, 1 + lsl.groups * (1 + len(lsl.fields))), np.nan)
        self._blocks = self._sample[0, 1:].reshape(lsl.groups, 1 + len(lsl.fields))
        self._rows = lsl.rows
        self._sequence: int | None = None
        self._settings: int | None = None
        self.frame: int | None = None

    def frame_sample(self, meta: Any, rows: npt.NDArray[np.void]) -> FrameSamples:
        """Samples of one frame: RESULT_META record and ROW rows. An absent particle is NaN in every field."""
        frame, ids = int(meta["frame"]), rows["particle"].tolist()
        events = self._changes(meta, frame)
        given, changes = self.groups.assign(ids, frame)
        events += [_event(change.kind, frame, particle=change.particle, group=change.group) for change in changes]
        self._sample[0, 0] = frame
        self._blocks[:] = np.nan
        group = np.asarray(given, np.int64)
        kept = group >= 0
        at = group[kept]
        self._blocks[at, 0] = rows["particle"][kept]
        for column, (field, scale) in enumerate(zip(self._fields, self._scale), 1):
            values = rows[field][kept]
            self._blocks[at, column] = values if scale == 1.0 else values * scale
        return FrameSamples(self._sample, self._table(frame, rows), events, len(ids) - int(kept.sum()))

    def _changes(self, meta: Any, frame: int) -> list[str]:
        """What happened between the frame before and this one."""
        events, sequence, settings = [], int(meta["sequence"]), int(meta["settings"])
        if self.frame is not None and frame > self.frame + 1:
            events.append(_event("gap", frame, first=self.frame + 1, last=frame - 1))
        if self._sequence is not None and sequence != self._sequence:
            events.append(_event("sequence", frame, sequence=sequence))
            events += [_event("lost", frame, particle=c.particle, group=c.group) for c in self.groups.clear(frame)]
        if self._settings is not None and settings != self._settings:
            events.append(_event("settings", frame, version=settings))
        self.frame, self._sequence, self._settings = frame, sequence, settings
        return events

    def _table(self, frame: int, rows: npt.NDArray[np.void]) -> Samples | None:
        if not self._rows:
            return None
        table = np.empty((len(rows), 2 + len(ROW_FIELDS)))
        table[:, 0], table[:, 1] = frame, rows["particle"]
        for column, field in enumerate(ROW_FIELDS, 2):
            table[:, column] = rows[field]
        return table


def frames_lost(records: npt.NDArray[np.void]) -> int:
    """How many frame numbers LOSS records name."""
    assert records.dtype == LOSS
    return int((records["last"] - records["first"] + 1).sum())


def _event(kind: str, frame: int, **facts: int) -> str:
    return json.dumps({"event": kind, "frame": frame, **facts})
