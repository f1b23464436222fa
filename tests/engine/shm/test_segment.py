"""Segments: made, attached, opened by strangers, swept when their owner is dead."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.shm import segment as module
from engine.shm.segment import KEPT, NoRoomError, Segment, SegmentError, Swept, name_of, sweep


@pytest.fixture
def run_id() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def python() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a Python process that says something on standard output; all are ended."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_what_one_process_writes_another_reads(run_id: str, python: Callable[[str], subprocess.Popen[str]]) -> None:
    with Segment.create(run_id, "frames", 10_000) as segment:
        segment.array(4096, (3, 4), np.uint16)[1, 2] = 777
        out, _ = python(f"""
            from engine.shm.segment import Segment
            with Segment.attach("{run_id}", "frames", populate="read") as segment:
                print(segment.array(4096, (3, 4), "u2")[1, 2], segment.run_id, segment.owner_pid)
        """).communicate()
    assert out.split() == ["777", run_id, str(os.getpid())]


def test_a_new_segment_is_zero_and_closing_removes_all_of_it(run_id: str) -> None:
    with Segment.create(run_id, "frames", 10_000) as segment:
        assert not segment.words(0, 1250).any()
        assert _names(run_id)
    assert not _names(run_id)
    segment.close()  # twice does no harm


def test_attaching_to_a_run_that_ended_says_so(run_id: str) -> None:
    with pytest.raises(SegmentError, match=f"no such segment; the run {run_id} has ended"):
        Segment.attach(run_id, "frames")


def test_a_name_is_given_once(run_id: str) -> None:
    with Segment.create(run_id, "frames", 100), pytest.raises(SegmentError, match="exists already"):
        Segment.create(run_id, "frames", 100)
    with Segment.create(run_id, "frames", 100), Segment.create(run_id, "results", 100):
        pass


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("magic", 0, "not a ringtrack segment, or not ready yet"),
        ("layout", 99, "layout 99, this program reads 2; run both sides with the same version"),
        ("size", 4096, "its header says 4096"),
    ],
)
def test_what_is_not_ours_is_refused(run_id: str, field: str, value: int, message: str) -> None:
    with Segment.create(run_id, "frames", 10_000) as segment:
        segment._header()[field] = value
        with pytest.raises(SegmentError, match=message):
            Segment.attach(run_id, "frames")


def test_a_segment_that_has_no_size_yet_is_not_ready(run_id: str) -> None:
    path = module.FOLDER / (name_of(run_id, "frames") + KEPT)
    path.touch()
    try:
        with pytest.raises(SegmentError, match="not ready yet"):
            Segment.attach(run_id, "frames")
    finally:
        path.unlink()


def test_a_stranger_may_look_and_his_exit_takes_nothing_from_us(
    run_id: str, python: Callable[[str], subprocess.Popen[str]]
) -> None:
    with Segment.create(run_id, "frames", 10_000) as segment:
        segment.words(0, 1)[0] = 4711
        out, _ = python(f"""
            from multiprocessing.shared_memory import SharedMemory
            memory = SharedMemory("{segment.name}")
            print(int.from_bytes(memory.buf[4096:4104], "little"), memory.size)
            memory.close()
        """).communicate()  # also waits for his resource tracker, which holds the same pipe
        assert out.split() == ["4711", str(segment.size)]
        with Segment.attach(run_id, "frames") as again:  # as a process that starts again would
            assert int(again.words(0, 1)[0]) == 4711
        assert segment.keep_name() == (sys.version_info < (3, 13))
        assert not segment.keep_name()
        assert (module.FOLDER / segment.name).exists()


CREATE = """
    import sys, time
    from engine.shm.segment import Segment
    segment = Segment.create("{run_id}", "frames", 10_000)
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("whole_group", [False, True], ids=["alone", "with its whole group"])
def test_a_killed_owner_leaves_a_segment_that_the_next_sweep_removes_and_names(
    run_id: str, python: Callable[[str], subprocess.Popen[str]], whole_group: bool
) -> None:
    process = python(CREATE.format(run_id=run_id))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert not _swept(run_id), "a living one was swept"
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    (found,) = _swept(run_id)
    assert (found.name, found.owner_pid, found.size) == (name_of(run_id, "frames"), process.pid, 16384)
    assert not _names(run_id)
    assert not _swept(run_id)


def test_a_sweep_finds_what_is_left_of_a_segment_that_was_never_ready(run_id: str) -> None:
    name = name_of(run_id, "frames")
    (module.FOLDER / (name + KEPT)).touch()
    assert [found.name for found in _swept(run_id)] == [name]
    (module.FOLDER / name).touch()
    assert [found.name for found in _swept(run_id)] == [name]
    assert not _names(run_id)


@pytest.fixture
def small_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A /dev/shm with room for 1 MiB."""
    folder = tmp_path / "shm"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("NOT TESTED: a /dev/shm that is full (mounting a small one needs root: sudo -E pytest …)")
    monkeypatch.setattr(module, "FOLDER", folder)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_no_room_is_an_error_with_the_numbers_and_leaves_nothing(small_folder: Path, run_id: str) -> None:
    with Segment.create(run_id, "results", 500_000):
        with pytest.raises(NoRoomError) as error:
            Segment.create(run_id, "frames", 8 * 2**20)
        assert f"{name_of(run_id, 'frames')}: 8 MiB wanted, 1 MiB free in {small_folder}" in str(error.value)
        assert "Lower ring.seconds" in str(error.value)
        assert not _names(run_id, "frames", small_folder)
        with Segment.create(run_id, "frames", 400_000):  # the room it had taken is free again
            pass


def test_no_room_is_told_also_where_nobody_may_mount(run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(NoRoomError, match=r"8 MiB wanted, .* MiB free"):
        Segment.create(run_id, "frames", 8 * 2**20)
    assert not _names(run_id)


@pytest.mark.parametrize("owner", [True, False], ids=["owner", "attached"])
def test_a_view_that_outlives_its_segment_can_still_be_read(
    run_id: str, python: Callable[[str], subprocess.Popen[str]], owner: bool
) -> None:
    process = python(f"""
        from engine.shm.segment import Segment
        made = Segment.create("{run_id}", "frames", 10_000)
        made.words(0, 1)[0] = 5
        segment = made if {owner} else Segment.attach("{run_id}", "frames")
        words = segment.words(0, 1000)
        made.close()
        segment.close()
        print(words[0], words.sum(), flush=True)
    """)
    out, errors = process.communicate()
    assert (process.returncode, out, errors) == (0, "5 5\n", "")


def _names(run_id: str, kind: str = "", folder: Path | None = None) -> list[str]:
    return [path.name for path in (folder or module.FOLDER).glob(f"{module.PREFIX}{run_id}_{kind}*")]


def _swept(run_id: str) -> list[Swept]:
    """What a sweep removed of ours: other runs on this machine may leave something at the same time."""
    return [found for found in sweep() if run_id in found.name]
