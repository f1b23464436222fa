"""The plan of a run: what the supervisor decided, in one small file that every process of the run reads.

It lies in the user's runtime folder, where `engine.runs` finds it; the supervisor holds a `flock` on it for life.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from engine.experiment import Experiment

LEDGER_RECORDS = 65536
"""Loss records kept in memory: eleven minutes in which every single frame is lost, before a recorder reads them."""


class Geometry(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of everything in shared memory: computed once, so that all processes agree."""

    frame_slots: int
    result_slots: int
    depth: int  # places in work at once
    units_of_step: tuple[int, ...]
    scratch_bytes: int  # of one place in work
    state_bytes: int  # of one copy of the linker's state
    blocks: int  # status blocks


RECORDER_GRACE_S = 7.0
"""`ProcessPlan.grace_s` of a recorder of results, which still takes what is in the ring (recorders.loop)."""


class ProcessPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the run: what it is started as, and what is expected of it."""

    name: str  # "tracker-0"
    target: str  # "engine.workers.tracker:main", resolved in the child
    kind: str  # "tracker": processes of one kind are each other's spares
    block: int  # its status block
    worker: int = -1  # number among the workers that claim units
    reader: int = -1  # lossless reader of the result ring
    frame_reader: int = -1  # lossless reader of the frame ring
    spares: int = 0  # of its kind: so many wait while the others work
    nice: int = 0
    cores: tuple[int, ...] = ()  # pinned to these; empty: wherever the system likes
    vital: bool = True  # the run ends if it stays dead
    stall_s: float = 5.0  # no heartbeat for so long: killed and replaced
    grace_s: float = 1.5  # its supervisor dead, it leaves within that, or by force
    options: dict[str, Any] = msgspec.field(default_factory=dict)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A run, as its processes and onlookers know it."""

    run_id: str
    pid: int
    started_utc_ns: int
    started_mono_ns: int
    run_folder: str
    experiment: Experiment
    geometry: Geometry
    processes: tuple[ProcessPlan, ...]

    def process(self, name: str) -> ProcessPlan:
        """The process of that name."""
        return next(process for process in self.processes if process.name == name)

    def of_kind(self, kind: str) -> list[ProcessPlan]:
        return [process for process in self.processes if process.kind == kind]

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Raises `msgspec.DecodeError` or `ValidationError` if it is no plan of this version."""
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def encode(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1)
