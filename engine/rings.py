"""The shared memory of a run: its segments, made by the supervisor, attached by everybody else.

| segment | holds | written by |
|---|---|---|
| `frames` | the frame ring | receiver |
| `results` | the result ring | trackers (rows), linker (identity, publication) |
| `work` | the words of the units of work, then scratch memory for each place in work | trackers |
| `state` | the two copies of the linker's state | linker |
| `status` | words of the run, loss ledger, a status block for each process | receiver (ledger), each its own |
| `status`, at its end | the settings by version | control server |
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from engine.accounting import LOSS
from engine.frames import FRAME_META
from engine.plan import LEDGER_RECORDS, Plan
from engine.rows import RESULT_META, ROW
from engine.shm.atomics import LINE, Words, load, store
from engine.shm.cursors import CursorTable
from engine.shm.frame_ring import FrameWriter
from engine.shm.ledger import Ledger
from engine.shm.result_ring import TwoCopies
from engine.shm.ring import Ring, RingLayout
from engine.shm.segment import Segment, aligned
from engine.shm.status import BLOCK_BYTES, StatusBlock
from engine.shm.units import UnitLayout, Units
from engine.shm.versions import Versions

_INCARNATION_OF_RECEIVER = 1 * LINE
_RUN_WORDS = 64 * LINE
T = TypeVar("T")


class Rings:
    """All shared memory of a run. A context manager; the parts are mapped when first asked for."""

    def __init__(self, plan: Plan, owner: bool, populate: dict[str, str] | None = None) -> None:
        """`populate`: segments whose pages are all mapped at once, for "read" or "write", instead of one by one."""
        self._populate = populate or {}
        self.plan = plan
        self.owner = owner
        self._stack = ExitStack()
        self._segments: dict[str, Segment] = {}
        self._parts: dict[str, Any] = {}

    @classmethod
    def create(cls, plan: Plan) -> Rings:
        """Make all segments (the supervisor). Raises `engine.shm.segment.NoRoomError`, leaving nothing behind."""
        rings = cls(plan, owner=True)
        try:
            for kind, size in rings._sizes().items():
                segment = Segment.create(plan.run_id, kind, size)
                rings._segments[kind] = rings._stack.enter_context(segment)
            for name in ("frames", "results", "units", "state", "versions"):
                getattr(rings, name)
            for process in plan.processes:
                if process.reader >= 0:
                    CursorTable(rings.results).expect(process.reader)
                if process.frame_reader >= 0:
                    CursorTable(rings.frames).expect(process.frame_reader)
        except BaseException:
            rings.close()
            raise
        return rings

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(self._sizes().values())

    @property
    def frames(self) -> Ring:
        """Camera frames: records are FRAME_META, payloads `(height, width)` pixels."""
        return self._part("frames", lambda: Ring(self._segment("frames"), self._frame_layout()))

    @property
    def results(self) -> Ring:
        """Results: records are RESULT_META, payloads ROW x `ring.max_particles`, of which meta["rows"] are valid."""
        return self._part("results", lambda: Ring(self._segment("results"), self._result_layout()))

    @property
    def units(self) -> Units:
        """The words of the units of work."""
        return self._part("units", lambda: Units(self._segment("work"), 0, self._unit_layout()))

    @property
    def state(self) -> TwoCopies:
        """The linker's state."""
        return self._part("state", lambda: TwoCopies(self._segment("state"), 0, self.plan.geometry.state_bytes))

    @property
    def ledger(self) -> Ledger:
        """Losses that the receiver knows of, as LOSS records."""
        return self._part("ledger", lambda: Ledger(self._segment("status"), 8 * _RUN_WORDS, LEDGER_RECORDS, LOSS))

    def scratch(self, place: int) -> npt.NDArray[np.uint8]:
        """The scratch memory of a place in work."""
        arrays = self._part("scratch", self._scratch_arrays)
        return arrays[place % len(arrays)]

    def block(self, name: str) -> StatusBlock:
        """The status block of a process."""
        return self._part(f"block {name}", lambda: StatusBlock(self._segment("status"), self._block_offset(name)))

    @property
    def versions(self) -> Versions:
        """The settings by version, as texts; `engine.live` reads them."""
        return self._part("versions", lambda: Versions(self._segment("status"), self._versions_offset()))

    def writer(self) -> FrameWriter:
        """The frame ring's writer: for the receiver alone."""
        return FrameWriter(self.frames, self.results, self.units, self.plan.experiment.ring.hold_s)

    @property
    def settings_version(self) -> int:
        """Version of the settings that the next frame will use."""
        return self.versions.newest

    @property
    def receiver_incarnation(self) -> int:
        """How often a receiver was started in this run: senders learn from it that it is another."""
        return load(self._run_words(), _INCARNATION_OF_RECEIVER)

    def raise_receiver_incarnation(self) -> None:
        """Before a receiver is started (the supervisor)."""
        store(self._run_words(), _INCARNATION_OF_RECEIVER, self.receiver_incarnation + 1)

    def frames_recorded(self) -> int | None:
        """Frames that came while recording was on: as the tables have them, or else the files of frames.

        None: nothing is recorded in this run.
        """
        names = {process.name for process in self.plan.of_kind("recorder")}
        every = self.plan.experiment.record.image_every
        for name, each in (("hdf5", 1), ("csv", 1), ("crops", 1), ("images", every), ("tiff", every)):
            if name in names:
                return self.block(name).counters().get("frames_recorded", 0) * each
        return None

    def keep_names(self) -> None:
        """Put back public names that a stranger's exit took away (the supervisor, now and then)."""
        for segment in self._segments.values():
            segment.keep_name()

    def ring_all_bells(self) -> None:
        """After a death: whoever the dead one would have woken looks now, not in a tenth of a second."""
        for bell in (
            self.frames.published, self.frames.released, self.results.published, self.results.released,
            self.units.work, self.units.finished,
        ):  # fmt: skip
            bell.ring()

    def close(self) -> None:
        self._parts.clear()
        self._stack.close()
        self._segments.clear()

    def __enter__(self) -> Rings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _part(self, name: str, make: Callable[[], T]) -> T:
        found = self._parts.get(name)  # asked for several times for each unit of work
        if found is None:
            found = self._parts[name] = make()
        return cast(T, found)

    def _segment(self, kind: str) -> Segment:
        if kind not in self._segments:
            segment = Segment.attach(self.plan.run_id, kind, populate=self._populate.get(kind, ""))
            self._segments[kind] = self._stack.enter_context(segment)
        return self._segments[kind]

    def _run_words(self) -> Words:
        return self._part("words", lambda: self._segment("status").words(0, _RUN_WORDS))

    def _frame_layout(self) -> RingLayout:
        camera = self.plan.experiment.camera
        return RingLayout(self.plan.geometry.frame_slots, FRAME_META, np.dtype(camera.dtype), camera.shape_hw)

    def _result_layout(self) -> RingLayout:
        return RingLayout(self.plan.geometry.result_slots, RESULT_META, ROW, (self.plan.experiment.ring.max_particles,))

    def _unit_layout(self) -> UnitLayout:
        return UnitLayout(self.plan.geometry.depth, self.plan.geometry.units_of_step)

    def _scratch_arrays(self) -> list[npt.NDArray[np.uint8]]:
        geometry = self.plan.geometry
        first, step = aligned(self._unit_layout().bytes, 4096), aligned(geometry.scratch_bytes, 4096)
        segment = self._segment("work")
        return [segment.array(first + i * step, (geometry.scratch_bytes,), np.uint8) for i in range(geometry.depth)]

    def _blocks_offset(self) -> int:
        return aligned(8 * _RUN_WORDS + Ledger.bytes(LEDGER_RECORDS, LOSS), 4096)

    def _block_offset(self, name: str) -> int:
        return self._blocks_offset() + self.plan.process(name).block * BLOCK_BYTES

    def _versions_offset(self) -> int:
        return aligned(self._blocks_offset() + self.plan.geometry.blocks * BLOCK_BYTES, 4096)

    def _sizes(self) -> dict[str, int]:
        geometry = self.plan.geometry
        scratch = geometry.depth * aligned(geometry.scratch_bytes, 4096)
        return {
            "frames": self._frame_layout().bytes,
            "results": self._result_layout().bytes,
            "work": aligned(self._unit_layout().bytes, 4096) + scratch,
            "state": TwoCopies.bytes(geometry.state_bytes),
            "status": self._versions_offset() + Versions.size_bytes(),
        }
