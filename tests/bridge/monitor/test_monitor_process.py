"""The monitor as a part of a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bridge.monitor.process import main


def test_without_a_desktop_it_says_so_once_and_waits_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    said: list[str] = []
    looks = iter([False, False, True])
    beats: list[int] = []

    class Job:
        run_id = "nobody"
        status: Any = SimpleNamespace(ready=lambda: said.append("ready"), beat=lambda: beats.append(1))

        @property
        def stopping(self) -> bool:
            return next(looks)

        def log(self, level: str, words: str) -> None:
            said.append(f"{level}: {words}")

    main(Job())  # type: ignore[arg-type]
    assert "there is no desktop here" in said[0]
    assert said[1:] == ["ready"]
    assert len(beats) == 3
