"""The folder of compiled kernels: one for each version and processor, and none that nobody uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.supervisor import kernels


def test_kernels_of_other_versions_go_when_nobody_has_used_them_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = kernels.cache_folder()
    old, recent = own.parent / "old", own.parent / "recent"
    for folder in (old, recent):
        folder.mkdir()
        (folder / "kernel.nbc").touch()
    now = own.stat().st_mtime
    os.utime(old, (0, now - 61 * 86400))
    os.utime(recent, (0, now - 59 * 86400))
    kernels.sweep_old()
    assert {folder.name for folder in own.parent.iterdir()} == {own.name, "recent"}
