"""A run without rings: a job whose result ring is a list, for tests of what recorders do with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from engine.accounting import LOSS, Cause, Step
from engine.experiment import Experiment
from engine.frames import Kind
from engine.live import Recording
from engine.rows import RESULT_META, ROW
from engine.shm.cursors import Gap
from engine.shm.ring import OverrunError
from engine.supervisor.template import Template
from tests.recorders.killable import warm


def rows_of(frame: int, count: int = 5) -> np.ndarray:
    """Rows that can be told from all others."""
    rows = np.zeros(count, ROW)
    rows["frame"] = frame
    rows["particle"] = np.arange(count)
    rows["x"] = frame + np.arange(count) / 8
    rows["y"] = 100 + np.arange(count)
    rows["mass"] = 1000 + frame
    rows["size"] = 2.5
    rows["vx"] = np.nan
    return rows


def meta_of(frame: int, count: int = 5, **fields: Any) -> np.void:
    """A result's record."""
    meta = np.zeros(1, RESULT_META)[0]
    meta["frame"] = meta["counter"] = frame
    meta["rows"] = meta["found"] = count
    meta["settings"] = 1
    meta["stream"] = 77
    meta["t_source_ns"] = frame * 10_000_000
    meta["t_camera_ns"] = 5_000_000_000 + frame * 10_000_000
    meta["t_received_ns"] = meta["t_camera_ns"] + 1_000_000
    meta["t_published_ns"] = meta["t_camera_ns"] + 9_000_000
    meta["time_source"] = 1
    meta["checksum"] = 2**63 + frame
    meta["file_name"] = f"img_{frame:05d}.tif".encode()
    for name, value in fields.items():
        meta[name] = value
    return meta


def closing(ledger: int = 0) -> np.void:
    return meta_of(-1, 0, kind=Kind.CLOSING, ledger=ledger)


def loss(first: int, last: int, step: Step = Step.CAMERA, cause: Cause = Cause.CAMERA_SKIPPED) -> tuple[int, ...]:
    """A record of the ledger."""
    return (first, last, 0, 123, step, cause)


@dataclass
class FakeJob:
    """`engine.process.Job` as recorders know it; `script` is what the ring will hold: (meta, rows), gaps, None."""

    run_folder: Path
    script: list[Any]
    losses: list[tuple[int, ...]] = field(default_factory=list)
    experiment: Experiment = field(default_factory=Experiment)
    name: str = "hdf5"
    run_id: str = "0123456789abcdef"
    stopping: bool = False
    orphaned: bool = False
    untracked: int = 0  # frames that came after the newest result
    slots: int = 1000
    recordings: dict[int, Recording] = field(default_factory=dict)  # by version of the settings

    def __post_init__(self) -> None:
        self.logged: list[tuple[str, str]] = []
        self.counts: Counter[str] = Counter()
        self.done = -1
        self.torn: set[int] = set()  # places that are overwritten while they are read
        self.beats = 0
        beat = SimpleNamespace(ready=lambda: None, beat=self._beat, count=self._count, observe_ns=lambda _: None)
        self.status = beat
        self.ledger = SimpleNamespace(
            count=len(self.losses), read=lambda first, end: np.array(self.losses[first:end], LOSS)
        )

    def settings_of(self, version: int) -> dict[str, Any]:
        return {"version": version}

    def recording_of(self, version: int) -> Recording:
        return self.recordings.get(version, Recording())

    @property
    def results(self) -> FakeJob:
        return self

    @property
    def newest(self) -> int:
        return len(self.script) - 1

    @property
    def frames(self) -> FakeJob:
        """The ring of frames, as far as the recorders of results look at it: which of them came."""
        return replace(self, script=self.script + [(meta_of(-1), None)] * self.untracked)

    def log(self, level: str, message: str, **_: Any) -> None:
        self.logged.append((level, message))

    def result_reader(self) -> FakeReader:
        return FakeReader(self, self.done + 1)

    @contextmanager
    def view(self, place: int) -> Iterator[SimpleNamespace]:
        meta, rows = self.script[place]
        yield SimpleNamespace(place=place, meta=meta, data=rows)
        if place in self.torn:
            raise OverrunError(place)

    def _beat(self) -> None:
        self.beats += 1

    def _count(self, name: str, n: int = 1) -> None:
        self.counts[name] += n


class FakeReader:
    """Every place of the script in order; a `Gap` stands for the places that it spans."""

    def __init__(self, job: FakeJob, start: int) -> None:
        self._job = job
        self._next = start

    def next(self, timeout_s: float) -> int | Gap | None:
        if self._next >= len(self._job.script):
            return None
        item = self._job.script[self._next]
        self._next += 1
        if callable(item):
            item()
            return None
        if isinstance(item, Gap):
            self._next = item.last + 1
            return item
        return self._next - 1

    @property
    def last(self) -> int:
        return self._next - 1

    def overrun(self, place: int) -> Gap:
        return Gap(place, place)

    def done(self, place: int) -> None:
        self._job.done = max(self._job.done, place)


@pytest.fixture(scope="module")
def template() -> Iterator[Template]:
    """What recorders that are to be killed are forked from."""
    with warm() as template:
        yield template


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run_001"
    folder.mkdir()
    return folder


@pytest.fixture
def ring() -> SimpleNamespace:
    """What tests write a script of a ring with."""
    return SimpleNamespace(
        rows=rows_of,
        meta=meta_of,
        closing=closing,
        loss=loss,
        frame=lambda frame, count=5, **fields: (meta_of(frame, count, **fields), rows_of(frame, count)),
        end=lambda ledger=0: (closing(ledger), rows_of(-1, 0)),
        Gap=Gap,
    )


@pytest.fixture
def job(run_folder: Path) -> Callable[..., FakeJob]:
    """Makes jobs of one run."""

    def make(script: list[Any], losses: list[tuple[int, ...]] | None = None, **fields: Any) -> FakeJob:
        return FakeJob(run_folder, script, losses or [], **fields)

    return make


@pytest.fixture
def fast() -> Experiment:
    """Settings that flush all the time."""
    return msgspec.structs.replace(Experiment(), record=msgspec.structs.replace(Experiment().record, flush_s=1e-6))
