"""Parts of a recording: what counts of each, read as one and joined into one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import pytest

from recorders import Run, join
from recorders.hdf5 import main
from recorders.parts import part_paths, position_before, read_parts


@pytest.fixture
def parts(job: Any, ring: Any) -> Callable[..., Path]:
    """Records stretches of frames as the parts of one run, each as if the recorder before it had died."""

    def make(*stretches: range) -> Path:
        for stretch in stretches:
            run = job([ring.frame(k) for k in stretch] + [ring.end()])
            main(run)
        return Path(run.run_folder) / "tracking_run_001.h5"

    return make


def tear(path: Path, frames: int, tracks: int) -> None:
    """Leave a file as a killed writer may: rows reserved but not written, and not closed in order."""
    with h5py.File(path, "r+") as file:
        for name, count in (("frames", frames), ("tracks", tracks)):
            file[name].resize((file[name].shape[0] + count,))
        file["metadata/processing_metrics"].attrs["complete"] = 0


def numbers(path: Path) -> list[int]:
    return Run.open(path).frames_table["frame"].tolist()


def test_the_later_part_counts_from_its_first_frame_on(parts: Any) -> None:
    first = parts(range(10), range(7, 12), range(9, 15))
    assert numbers(first) == list(range(15))
    assert [(len(p.table), p.tracks) for p in read_parts(first)] == [(7, 35), (2, 10), (6, 30)]


def test_a_part_that_was_overtaken_altogether_counts_for_nothing(parts: Any) -> None:
    first = parts(range(10), range(7, 9), range(5, 12))
    assert numbers(first) == list(range(12))


def test_a_torn_end_is_cut_off(parts: Any) -> None:
    first = parts(range(10))
    tear(first, frames=3, tracks=7)
    assert numbers(first) == list(range(10))
    assert len(Run.open(first).tracks) == 50


def test_frames_whose_rows_did_not_reach_the_disk_are_cut_off(parts: Any) -> None:
    first = parts(range(10))
    with h5py.File(first, "r+") as file:
        file["tracks"].resize((43,))
        file["metadata/processing_metrics"].attrs["complete"] = 0
    assert numbers(first) == list(range(8))
    assert len(Run.open(first).tracks) == 40


def test_rows_in_the_middle_that_were_never_written_end_the_part_there(parts: Any) -> None:
    first = parts(range(10))
    with h5py.File(first, "r+") as file:
        rows = file["tracks"][20:22]
        rows["frame"] = -1
        file["tracks"][20:22] = rows
        file["metadata/processing_metrics"].attrs["complete"] = 0
    assert numbers(first) == list(range(4))


def test_a_successor_is_told_how_far_the_recording_had_come(parts: Any) -> None:
    first = parts(range(10), range(7, 12))
    assert position_before(first, 12, part=3).next_frame == 12
    assert position_before(first, 8, part=3).next_frame == 8
    assert position_before(first, 3, part=3).next_frame == 3
    assert position_before(first, 0, part=3).next_frame is None


def test_joined_they_are_one_file_equal_to_an_undisturbed_one(parts: Any, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed.h5"
    shutil.move(parts(range(15)), undisturbed)
    first = parts(range(10), range(7, 12), range(9, 15))
    done = join.join(first)
    assert (done.joined, done.parts) == (True, 3)
    assert "3 parts joined" in done.message
    assert sorted(p.name for p in first.parent.iterdir()) == [first.name]
    with h5py.File(first) as one, h5py.File(undisturbed) as other:
        assert one["tracks"][...].tobytes() == other["tracks"][...].tobytes()
        assert one["frames"][...].tobytes() == other["frames"][...].tobytes()
        assert one["accounting/steps"][...].tobytes() == other["accounting/steps"][...].tobytes()
        assert one["metadata/processing_metrics"].attrs["frames_recorded"] == 15
        assert one["metadata/tracking_config"].attrs["diameter"] == 21
        assert one["index/tracks"].shape == (1, 2)
    assert Run.open(first).events["frame"].tolist() == [0, 7, 9]


def test_losses_are_joined_too_and_counted_once(job: Any, ring: Any) -> None:
    losses = [ring.loss(2, 4), ring.loss(7, 7)]
    main(job([ring.frame(1), ring.frame(5, ledger=1), ring.frame(6, ledger=1)], losses, stopping=True))
    again = job([ring.frame(5, ledger=1), ring.frame(6, ledger=1), ring.frame(8, ledger=2), ring.end(2)], losses)
    main(again)
    first = again.run_folder / "tracking_run_001.h5"
    apart = Run.open(first)
    assert apart.frames_table["frame"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert apart.lost[["first", "last"]].to_numpy().tolist() == [[2, 4], [7, 7]]
    join.join(first)
    whole = Run.open(first)
    assert whole.frames_table.equals(apart.frames_table)
    assert whole.lost.equals(apart.lost)
    assert whole.accounting.equals(apart.accounting)


def test_an_end_that_is_told_twice_changes_nothing(job: Any, ring: Any) -> None:
    """A recorder that died after its last flush, before it said so: its successor hears of the end alone."""
    losses = [ring.loss(2, 4), ring.loss(7, 8)]
    script = [ring.frame(1), ring.frame(5, ledger=1), ring.frame(6, ledger=1), ring.end(2)]
    made = job(script, losses)
    main(made)
    first = made.run_folder / "tracking_run_001.h5"
    before = Run.open(first).frames_array.tobytes()
    main(job([ring.end(2)], losses))
    assert Run.open(first).frames_array.tobytes() == before
    assert Run.open(first).lost[["first", "last"]].to_numpy().tolist() == [[2, 4], [7, 8]]
    assert join.join(first).joined
    assert Run.open(first).frames_array.tobytes() == before


def test_successors_that_recorded_nothing_are_only_deleted(job: Any, ring: Any) -> None:
    for script in ([ring.frame(0), ring.end()], [ring.end()], [ring.end()]):
        made = job(script)
        main(made)
    first = made.run_folder / "tracking_run_001.h5"
    inode = first.stat().st_ino
    assert join.join(first).joined
    assert [p.name for p in first.parent.iterdir()] == [first.name]
    assert first.stat().st_ino == inode


def test_one_part_is_left_as_it_is(parts: Any) -> None:
    first = parts(range(3))
    before = first.read_bytes()
    assert not join.join(first).joined
    assert first.read_bytes() == before


def test_without_the_room_the_parts_stay_and_say_so(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = parts(range(3), range(2, 5))
    monkeypatch.setattr(join.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    done = join.join(first)
    assert not done.joined
    assert "stays in 2 parts" in done.message
    assert list(part_paths(first)) == [1, 2]
    assert numbers(first) == list(range(5))


@pytest.mark.parametrize("step", ["before the joined file was whole", "before the parts were deleted"])
def test_a_death_while_joining_loses_nothing(parts: Any, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    first = parts(range(10), range(7, 12), range(9, 15))

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    if step == "before the joined file was whole":
        monkeypatch.setattr(join, "write_index", die)
    else:
        monkeypatch.setattr(Path, "unlink", lambda self, **_: die() if ".part" in self.name else None)
    with pytest.raises(KeyboardInterrupt):
        join.join(first)
    monkeypatch.undo()
    assert numbers(first) == list(range(15))
    join.join(first)
    assert numbers(first) == list(range(15))
    assert sorted(p.name for p in first.parent.iterdir()) == [first.name]


def test_a_later_part_alone_leads_to_the_whole_run(parts: Any) -> None:
    first = parts(range(10), range(7, 12))
    assert numbers(part_paths(first)[2]) == list(range(12))
    assert numbers(first.parent) == list(range(12))
