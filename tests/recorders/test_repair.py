"""What `ringtrack inspect --repair` makes of runs that were cut short, and what it leaves alone."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xxhash
from click.testing import CliRunner

from engine.cli.inspect import command
from engine.errors import MachineError
from recorders import Run, h5clear, repair
from recorders.hdf5 import main
from recorders.image_check import check_images
from recorders.images import ImageFile
from recorders.inspect import inspect
from recorders.named import find_run
from recorders.particles import Particles, particles_of
from recorders.parts import RunError


@pytest.fixture
def record(job: Any, ring: Any) -> Callable[..., Path]:
    """Records stretches of frames as parts of one run; the first file."""

    def make(*stretches: range) -> Path:
        for stretch in stretches:
            made = job([ring.frame(k) for k in stretch] + [ring.end()])
            main(made)
        return Path(made.run_folder) / "tracking_run_001.h5"

    return make


def kill(path: Path, frames: int = 3, rows: int = 7) -> None:
    """Leave a file as a killed writer does: marked, with a torn end, without particles and index."""
    with h5py.File(path, "r+") as file:
        for name, count in (("frames", frames), ("tracks", rows)):
            file[name].resize((file[name].shape[0] + count,))
        file["metadata/processing_metrics"].attrs["complete"] = 0
        for name in ("particles", "index/tracks", "index/frames"):
            file[name].resize(0, axis=0)
    head = bytearray(path.read_bytes()[:48])
    head[11] = 5
    head[44:] = h5clear.lookup3(bytes(head[:44])).to_bytes(4, "little")
    with path.open("r+b") as file:
        file.write(head)


def images(folder: Path, numbers: range, name: str = "images_run_001.h5") -> np.ndarray:
    """Frames of noise, recorded; what was in them."""
    pixels = np.random.default_rng(1).integers(0, 4000, (len(numbers), 24, 32), dtype=np.uint16)
    file = ImageFile(folder / name, (24, 32), "uint16")
    for number, picture in zip(numbers, pixels):
        checksum = xxhash.xxh3_64_intdigest(picture.tobytes())
        meta: Any = {"frame": number, "counter": number, "t_camera_ns": 1, "checksum": checksum}
        file.write(meta, file.encode(meta, picture))
    file.close()
    return pixels


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_whole_run_has_a_row_for_each_particle(record: Any) -> None:
    run = Run.open(record(range(10)))
    grouped = run.tracks.groupby("particle")
    assert list(run.particles.index) == [0, 1, 2, 3, 4]
    assert run.particles["count"].tolist() == [10] * 5
    assert (run.particles["first_frame"].tolist(), run.particles["last_frame"].tolist()) == ([0] * 5, [9] * 5)
    for name in ("x", "y", "mass", "size", "ecc", "signal"):
        np.testing.assert_allclose(run.particles[name], grouped[name].mean())
    assert pd.read_hdf(run.path, "particles")["count"].sum() == 50


def test_particles_do_not_depend_on_how_the_rows_were_cut(ring: Any) -> None:
    rows = np.concatenate([ring.rows(k, 5 + k % 3) for k in range(40)])
    rows["x"] = np.random.default_rng(2).random(len(rows))
    rows["particle"][::7] = 2000
    whole = particles_of([rows])
    assert particles_of(np.array_split(rows, 17)).tobytes() == whole.tobytes()
    assert whole["particle"][-1] == 2000
    assert len(Particles().table()) == 0


def test_parts_that_were_joined_have_the_particles_of_an_undisturbed_run(record: Any, tmp_path: Path) -> None:
    from recorders.join import join

    whole = Run.open(record(range(15)))
    expected = whole.particles
    whole.path.unlink()
    first = record(range(10), range(7, 12), range(9, 15))
    assert Run.open(first).particles.equals(expected)  # counted from the parts
    join(first)
    with h5py.File(first) as file:
        assert len(file["particles"]) == 5
    assert Run.open(first).particles.equals(expected)


def test_a_killed_run_is_made_whole_and_opens_everywhere(record: Any) -> None:
    first = record(range(10))
    before = Run.open(first)
    kill(first)
    with pytest.raises(OSError, match="open"):
        h5py.File(first)
    done = repair.repair(first).done
    assert any("mark of a dead writer" in line for line in done)
    assert any("3 frames at the end" in line for line in done)
    after = Run.open(first)
    assert after.tracks.equals(before.tracks)
    assert after.frames_table.equals(before.frames_table)
    assert after.particles.equals(before.particles)
    assert len(pd.read_hdf(first, "tracks")) == 50  # no torn row is left for other programs either
    with h5py.File(first) as file:
        assert file["index/tracks"].shape == (1, 2)
        assert file["metadata/processing_metrics"].attrs["frames_recorded"] == 10
    report = inspect(first)
    assert (report.state, report.whole) == ("repaired", True)
    assert sorted(path.name for path in first.parent.iterdir()) == [first.name]
    assert repair.repair(first).done == []


def test_parts_of_which_the_last_was_killed_become_one(record: Any) -> None:
    first = record(range(10), range(7, 12))
    expected = Run.open(first).tracks
    kill(first.with_name("tracking_run_001.part002.h5"))
    repair.repair(first)
    assert Run.open(first).tracks.equals(expected)
    assert [path.name for path in first.parent.glob("*.h5")] == [first.name]


def test_a_whole_run_is_not_touched(record: Any) -> None:
    first = record(range(10))
    before = digest(first)
    assert repair.repair(first).done == []
    assert digest(first) == before


def test_a_living_recording_is_refused(record: Any) -> None:
    import os

    first = record(range(3))
    held = h5clear.hold(first)
    try:
        with pytest.raises(RunError, match="when that has ended"):
            repair.repair(first)
    finally:
        os.close(held)


def test_without_room_nothing_changes(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = record(range(10))
    kill(first)
    h5clear.clear(first)
    before = digest(first)
    monkeypatch.setattr("recorders.repair.shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(MachineError, match="GiB free"):
        repair.repair(first)
    assert digest(first) == before


def test_a_disk_that_fails_in_the_middle_leaves_the_old_file(record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = record(range(10))
    kill(first)
    h5clear.clear(first)
    before = digest(first)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(repair, "replace", full)
    with pytest.raises(MachineError, match="as it was"):
        repair.repair(first)
    assert digest(first) == before
    assert sorted(path.name for path in first.parent.iterdir()) == [first.name]


def test_images_are_linked_again_and_checked(record: Any) -> None:
    import hdf5plugin  # noqa: F401  registers the filter, as a reader would

    first = record(range(6))
    pixels = images(first.parent, range(6))
    kill(first)
    repair.repair(first)
    with h5py.File(first) as file:
        np.testing.assert_array_equal(file["images"][...], pixels)
    report = inspect(first)
    assert (report.images, report.images_compared, report.faults) == (6, 6, [])


def test_a_chunk_that_went_bad_is_named(record: Any) -> None:
    first = record(range(6))
    images(first.parent, range(6))
    path = first.parent / "images_run_001.h5"
    with h5py.File(path, "r+") as file:
        chunk = file["images"].id.read_direct_chunk((2, 0, 0))[1]
        file["images"].id.write_direct_chunk((2, 0, 0), chunk[: len(chunk) // 2])
        file["images"].id.write_direct_chunk((4, 0, 0), file["images"].id.read_direct_chunk((3, 0, 0))[1])
        file["images"].resize(7, axis=0)  # a frame that never came: no row of it
    found = check_images(path)
    assert len(found.faults) == 2
    assert "frame 2 cannot be decoded" in found.faults[0]
    assert "frame 4 is not what the sender sent" in found.faults[1]
    assert not inspect(first).whole


def test_runs_are_found_by_name(record: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for run in ("2026-11-20/run_001", "2026-11-21/run_001", "2026-11-21/run_002"):
        (data / run).mkdir(parents=True)
        (data / run / f"tracking_{run[-7:]}.h5").touch()
    (data / "2026-11-22" / "run_001").mkdir(parents=True)  # recorded nothing
    assert find_run("latest", data) == data / "2026-11-21/run_002"
    assert find_run("run_001", data) == data / "2026-11-21/run_001"
    assert find_run("2026-11-20/run_001", data) == data / "2026-11-20/run_001"
    assert find_run(data / "2026-11-20", data) == data / "2026-11-20"
    with pytest.raises(RunError, match="Did you mean run_00"):
        find_run("run_004", data)
    with pytest.raises(RunError, match="there is no run under"):
        find_run("latest", tmp_path / "nowhere")


def test_the_command_repairs_by_name(record: Any, tmp_path: Path) -> None:
    first = record(range(4))
    kill(first)
    day = tmp_path / "data" / "2026-11-21"
    day.mkdir(parents=True)
    first.parent.rename(day / "run_001")
    done = CliRunner().invoke(command, ["latest", "--repair", "--data", str(day.parent)], standalone_mode=False)
    assert (done.exception, done.return_value) == (None, 0), done.output
    assert "repaired" in done.output
