"""The archive with its real processes; what an effort costs; what it imports."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recorders.archive import Archive, jxl
from recorders.archive.crew import Crew
from recorders.archive.index import Index
from recorders.archive.keeper import Keeper
from recorders.archive.recompress import recompress
from recorders.archive.speed import Speed, measured
from recorders.archive.worker import Request
from tests.recorders.archiving import Bench, camera_file, image

REPOSITORY = Path(__file__).parents[2]


def test_a_real_crew_archives_and_packs_tighter_and_survives_the_death_of_its_workers(tmp_path: Path) -> None:
    ram, dest = tmp_path / "ram", tmp_path / "dest"
    ram.mkdir()
    dest.mkdir()
    for n in range(30):
        camera_file(ram, n)
    with Index(dest) as index, Crew(2) as crew, Keeper(ram, dest, crew, index) as keeper:
        for n in range(30):
            keeper.add(ram / f"img_{n:04d}.tif", n)
        while not crew.pids:
            keeper.tick(0.01)
        killed = next(iter(crew.pids.values()))
        os.kill(killed, 9)
        keeper.drain(lambda: False)
        account = keeper.account
        assert crew.restarts == 1
    assert (account.archived, account.deleted, account.failed) == (30, 30, 0)
    assert not list(ram.iterdir())
    before = {row.jxl: row.bytes_jxl for row in Archive.open(dest).rows}
    done = recompress(dest, 3, 2)
    archive = Archive.open(dest)
    assert (done.done, done.failed, len(archive)) == (30, 0, 30)
    assert {row.effort for row in archive.rows} == {3}
    assert {row.jxl for row in archive.rows} == set(before)
    for n in range(30):
        assert (archive.picture(f"img_{n:04d}.tif") == image(n)).all()
    assert archive.path(archive.row("img_0007.tif")).stat().st_mtime_ns == 10**18 + 7
    assert recompress(dest, 3, 1).pictures == 0


def test_pictures_that_cannot_be_packed_anew_are_told_apart_and_what_is_in_hand_at_the_end_is_kept(
    tmp_path: Path,
) -> None:
    with Bench(tmp_path) as bench:
        for n in range(4):
            bench.keeper.add(camera_file(bench.ram, n), n)
        while bench.hands.work:
            bench.step()
    asked = iter([False, True])
    assert recompress(bench.dest, 2, 1, stopping=lambda: next(asked)).done >= 1
    for one in Archive.open(bench.dest).rows:  # the index says what the pictures are
        data = (bench.dest / one.jxl).read_bytes()
        assert (len(data), jxl.about(data)["effort"]) == (one.bytes_jxl, one.effort)
    folder = bench.dest / "000000000"
    (folder / "img_0000.jxl").unlink()
    (folder / "img_0001.jxl").write_bytes(b"no picture")
    said: list[str] = []
    done = recompress(bench.dest, 3, 1, complain=said.append)
    assert (done.pictures, done.done, done.failed, done.not_written) == (4, 2, 1, 1)
    assert len(said) == 2
    assert done.lines()[1:] == [
        "1 are damaged, and were left as they are", "1 could not be read or written, and are as they were",
    ]  # fmt: skip


def test_a_worker_that_cannot_be_started_is_told_and_its_work_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("recorders.archive.crew._started", none)
    with Crew(1) as crew:
        crew.submit("token", Request(do="pack"))
        [(token, _, answer)] = crew.results(10.0)
        assert (token, answer.ok, answer.blame, crew.idle) == ("token", False, "disk", True)
        assert answer.why == "no worker could be started: Resource temporarily unavailable"


def test_what_an_effort_costs_is_measured_and_said_in_a_line() -> None:
    speed = measured(1, image(0, (128, 256)))
    assert min(speed.pack_s, speed.verify_s, speed.ratio) > 0
    assert (speed.width, speed.height, speed.stand_in) == (256, 128, False)
    fixed = Speed(1, 2048, 2048, 0.014, 0.036, 2.56, False)
    assert fixed.sustained(1) == pytest.approx(20)
    assert fixed.line(1).startswith("effort 1: 14 ms to pack, 36 ms to verify, ratio 2.56; 1 workers on ")


def test_it_imports_nothing_of_linux_and_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "for name in ('fcntl', 'pwd', 'resource', 'grp', '_posixshmem'): sys.modules[name] = None\n"
        "import engine.ownership, engine.cli.archive, bridge.send\n"
        "import recorders.archive.keeper, recorders.archive.worker, recorders.archive.recompress\n"
        "import recorders.archive.speed\n"
        "print(*{'pandas', 'numba', 'h5py', 'matplotlib', 'trackpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.stdout.split() == []
