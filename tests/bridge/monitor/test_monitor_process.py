"""The monitor as a part of a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bridge.monitor.show
from bridge.monitor.process import main
from engine.experiment import Experiment, Run
from engine.process import Job, Log


class Said(Log):
    """A log that is kept."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def __call__(self, level: str, message: str, **fields: Any) -> None:
        self.lines.append(f"{level}: {message}")


class TwoLooks(Job):
    """Of a run that goes on for two more looks."""

    run_id = "nobody"
    run_folder = Path("/nowhere")
    experiment = Experiment(experiment=Run(name="beads"))

    def __init__(self) -> None:
        self.said: list[str] = []
        self.beats = 0
        self._looks = iter([False, False, True])
        self.log = Said(self.said)

    @property
    def status(self) -> Any:
        return SimpleNamespace(ready=lambda: self.said.append("ready"), beat=self._beat)

    def _beat(self) -> None:
        self.beats += 1

    @property
    def stopping(self) -> bool:
        return next(self._looks)


def test_without_a_desktop_it_says_so_once_and_waits_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    job = TwoLooks()
    main(job)
    assert "there is no desktop here" in job.said[0]
    assert job.said[1:] == ["ready"]
    assert job.beats == 3


def test_a_desktop_that_is_named_and_not_there_ends_neither_the_process_nor_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(backend: str) -> None:
        raise ImportError(f"Cannot load backend {backend!r}")

    monkeypatch.setenv("DISPLAY", ":9999")
    monkeypatch.setattr(bridge.monitor.show, "toolkit", lambda: "TkAgg")
    monkeypatch.setattr(bridge.monitor.show.mpl, "use", refuse)
    job = TwoLooks()
    main(job)
    assert job.said[0] == "ready"
    assert "warning: monitor: no window can be opened on the desktop :9999" in job.said[1]
    assert job.beats == 3
