"""Stacks that are asked for while a run goes on: room for them is looked for first."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.stacks import StackWriter
from engine.errors import MachineError
from engine.experiment import Experiment


def test_a_stack_that_the_disk_has_no_room_for_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment.load(None, ["camera.width=1000", "camera.height=500", "record.min_free_gb=2"])
    rings: Any = SimpleNamespace(frames=SimpleNamespace(newest=7, slots=4), plan=SimpleNamespace(experiment=experiment))
    monkeypatch.setattr("bridge.stacks.shutil.disk_usage", lambda _: SimpleNamespace(free=int(2.9e9)))
    StackWriter(rings, tmp_path / "some.tif", 800)
    StackWriter(rings, tmp_path / "ring.tif", 0)
    with pytest.raises(MachineError, match=r"no room for 1000 frames: 2.9 GB are free, they take 1.0, .* keeps 2"):
        StackWriter(rings, tmp_path / "more.tif", 1000)
