"""Each run gets a folder of its own."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import MachineError
from engine.experiment import Experiment
from recorders.listing import listed
from recorders.runfolder import RunFolder, allot

NOON = datetime(2026, 11, 21, 12)


def test_runs_of_a_day_are_counted(tmp_path: Path) -> None:
    names = [allot(tmp_path / "data", Experiment(), NOON).path.relative_to(tmp_path) for _ in range(3)]
    assert [str(name) for name in names] == [f"data/2026-11-21/run_00{k}" for k in (1, 2, 3)]


def test_a_number_is_never_given_again(tmp_path: Path) -> None:
    allot(tmp_path, Experiment(), NOON)
    second = allot(tmp_path, Experiment(), NOON)
    (second.path.parent / "run_001").rename(tmp_path / "moved_away")
    assert allot(tmp_path, Experiment(), NOON).name == "run_003"
    (tmp_path / "2026-11-21" / "run_1000").mkdir()
    assert allot(tmp_path, Experiment(), NOON).name == "run_1001"


def test_two_at_once_get_two_folders(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: allot(tmp_path, Experiment(), NOON).name, range(32)))
    assert sorted(names) == [f"run_{k:03d}" for k in range(1, 33)]


def test_it_says_what_the_run_was_and_what_lies_in_it(tmp_path: Path) -> None:
    folder = allot(tmp_path, Experiment(), NOON)
    assert Experiment.load(folder.experiment, environ={}, machine=False) == Experiment()
    text = folder.readme.read_text()
    assert 'pandas.read_hdf("tracking_run_001.h5", "tracks")' in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_run_json_is_whole_or_the_one_before(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_json({"frames": np.int64(3), "latency_ms": {"p50": np.float64(1.5)}, "path": tmp_path})
    assert json.loads(folder.json.read_text())["frames"] == 3

    class Unknown:
        pass

    with pytest.raises(NotImplementedError):
        folder.write_json({"no way": Unknown()})
    assert json.loads(folder.json.read_text())["latency_ms"] == {"p50": 1.5}
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_a_data_folder_that_is_a_file_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(MachineError, match=r"experiment.data: .*data cannot be written: (File exists|Not a directory)"):
        allot(tmp_path / "data", Experiment(), NOON)


@pytest.mark.skipif(
    os.geteuid() == 0, reason="root may write everywhere, so a refusal was not tested: run it as another user"
)
def test_a_data_folder_without_permission_is_told_in_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(MachineError, match="cannot be written: Permission denied"):
            allot(tmp_path / "data", Experiment(), NOON)
    finally:
        tmp_path.chmod(0o700)


def test_a_read_only_disk_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(MachineError, match="cannot be written: Read-only file system"):
        allot(tmp_path / "data", Experiment(), NOON)


def test_a_run_whose_files_go_while_they_are_counted_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "frames.part").write_bytes(b"1234")
    real = Path.stat

    def stat(path: Path, **options: Any) -> os.stat_result:
        if path.suffix == ".part":
            raise FileNotFoundError(path)
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    assert [run.bytes for run in listed(tmp_path)] == [2]
