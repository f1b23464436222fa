"""`send`: whole sources through a sender to a receiver."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers_reception import FakeReceiver, Memory, image, wait_until

from bridge import send as sending
from bridge.send import Report, local, send
from bridge.sender import Sender
from engine.accounting import Cause, Step
from engine.errors import PeerError, SettingsError

REPOSITORY = Path(__file__).parents[2]


def files(folder: Path, numbers: list[int]) -> None:
    for n in numbers:
        tifffile.imwrite(folder / f"f{n}.tif", image(n))


def test_a_stack_is_sent_frame_by_frame_and_its_end_is_known(tmp_path: Path) -> None:
    memory = Memory()
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([image(n) for n in range(40)]))
    with FakeReceiver(memory) as receiver:
        report = send(str(tmp_path / "stack.tif"), receiver.address)
    assert memory.counters == list(range(40))
    assert all((pixels == n).all() for n, (_, _, pixels) in enumerate(memory.frames))
    assert report.ended
    assert receiver.counts["byes"] == 1
    assert report.lines()[0].startswith("40 frames from stack")
    assert all(header.t_ns is None and not header.live for _, header, _ in memory.frames)


def test_a_pace_is_kept(tmp_path: Path) -> None:
    memory = Memory()
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([image(n) for n in range(11)]))
    with FakeReceiver(memory) as receiver:
        report = send(str(tmp_path / "stack.tif"), receiver.address, fps=50)
    assert 0.2 <= report.seconds < 2


def test_bad_files_are_counted_and_reported_and_the_others_arrive(tmp_path: Path) -> None:
    memory = Memory()
    files(tmp_path, list(range(6)))
    (tmp_path / "f1.tif").write_bytes(b"no TIFF at all")
    os.truncate(tmp_path / "f2.tif", 1000)
    tifffile.imwrite(tmp_path / "f4.tif", image(4, shape=(10, 20)))
    said: list[str] = []
    with FakeReceiver(memory) as receiver:
        report = send(str(tmp_path), receiver.address, watch=False, complain=said.append)
    assert memory.numbers == [0, 3, 5]
    assert memory.lost == [
        (1, 2, Step.SENDER, Cause.FILE_UNREADABLE),
        (4, 4, Step.RECEIVER, Cause.REFUSED),
    ]
    assert len(said) == report.complaints_total == 3
    assert report.statistics.lost == 3


def test_files_are_deleted_only_when_their_frame_was_taken(tmp_path: Path) -> None:
    memory = Memory()
    files(tmp_path, list(range(6)))
    tifffile.imwrite(tmp_path / "f2.tif", image(2, shape=(10, 20)))
    (tmp_path / "f4.tif").write_bytes(b"no TIFF at all")
    with FakeReceiver(memory) as receiver:
        report = send(str(tmp_path), receiver.address, watch=False, delete_sent=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f2.tif", "f4.tif"]
    assert report.deleted == 4


def test_a_watched_folder_is_sent_while_it_is_written_and_emptied(tmp_path: Path) -> None:
    memory = Memory()
    done = threading.Event()
    reports: list[Report] = []
    with FakeReceiver(memory) as receiver:
        thread = threading.Thread(
            target=lambda: reports.append(send(str(tmp_path), receiver.address, delete_sent=True, stopping=done.is_set))
        )
        thread.start()
        wait_until(lambda: receiver.counts.get("hellos"))
        for n in [*range(20), *range(25, 40)]:
            tifffile.imwrite(tmp_path / f"f{n}.tif", image(n))
        wait_until(lambda: len(memory.frames) == 35)
        wait_until(lambda: not list(tmp_path.iterdir()))
        done.set()
        thread.join()
    assert memory.counters == [*range(20), *range(25, 40)]
    assert memory.lost == [(20, 24, Step.CAMERA, Cause.CAMERA_SKIPPED)]
    assert reports[0].statistics.gave_up == {}
    assert all(not header.live and header.t_ns is not None for _, header, _ in memory.frames)


def test_a_folder_waits_for_a_receiver_that_is_away_and_gives_nothing_up(tmp_path: Path) -> None:
    memory = Memory()
    files(tmp_path, list(range(300)))
    done = threading.Event()
    reports: list[Report] = []
    with FakeReceiver(memory) as first:
        address = first.address
        thread = threading.Thread(
            target=lambda: reports.append(send(str(tmp_path), address, stopping=done.is_set, poll=True))
        )
        thread.start()
        wait_until(lambda: len(memory.frames) > 20)
    with FakeReceiver(memory, address):
        wait_until(lambda: len(memory.frames) == 300)
        done.set()
        thread.join()
    assert memory.counters == list(range(300))
    assert memory.losses == []
    assert reports[0].ended


def test_a_simulated_camera_leaves_out_counters_and_starts_again_and_keeps_its_truth(tmp_path: Path) -> None:
    memory = Memory()
    with FakeReceiver(memory) as receiver:
        send(
            "simulated?beads=2&live=0&frames=160&skip=100-104&restart=150",
            receiver.address,
            truth=tmp_path / "truth.npz",
        )
    assert memory.numbers == [n for n in range(160) if not 100 <= n <= 104]
    assert memory.lost == [(100, 104, Step.CAMERA, Cause.CAMERA_SKIPPED)]
    assert [known.sequence for known, _, _ in memory.frames] == [0] * 145 + [1] * 10
    assert memory.frames[0][1].extra == {"simulated": True}
    with np.load(tmp_path / "truth.npz") as saved:
        assert saved["truth"]["frame"].max() == 159


def test_nobody_there_is_a_peers_error(tmp_path: Path) -> None:
    files(tmp_path, [0])
    with pytest.raises(PeerError, match="no answer in 0"):
        send(str(tmp_path), "tcp://127.0.0.1:9", watch=False, connect_s=0.1)
    with pytest.raises(SettingsError, match="--truth"):
        send(str(tmp_path), "tcp://127.0.0.1:9", watch=False, truth="x.npz")


def test_what_a_sender_waits_for_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "SILENT_S", 0.05)
    files(tmp_path, [0])
    said: list[str] = []
    with pytest.raises(PeerError):
        send(str(tmp_path), "tcp://127.0.0.1:9", watch=False, connect_s=0.5, remark=said.append)
    assert said == ["waiting: nobody has answered at tcp://127.0.0.1:9 yet"]
    with FakeReceiver(Memory()) as receiver, Sender(receiver.address, source="the first") as first:
        first.send(image(0))
        assert first.flush(5.0)
        with pytest.raises(PeerError):
            send(str(tmp_path), receiver.address, watch=False, connect_s=1.0, remark=said.append)
    assert [text for text in said[1:] if "nobody" not in text] == said[-1:]
    assert said[-1].startswith('waiting: another source "the first" is speaking')


def test_the_local_address_of_a_receiver_that_listens_everywhere() -> None:
    assert local("tcp://*:50052") == local("tcp://0.0.0.0:50052") == "tcp://127.0.0.1:50052"
    assert local("tcp://10.0.0.7:50052") == "tcp://10.0.0.7:50052"


WITHOUT_LINUX = """
import sys

class Blocked:
    names = {"fcntl", "_posixshmem", "resource", "pwd", "grp", "termios", "numba", "h5py", "engine.shm",
             "multiprocessing.shared_memory", "multiprocessing.resource_tracker"}
    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)

for name in Blocked.names:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocked())
import os
for name in ("fork", "mkfifo", "sched_setaffinity", "sched_getaffinity", "posix_fallocate", "pipe2", "pidfd_open"):
    if hasattr(os, name):
        delattr(os, name)
import bridge
from bridge.send import send
from bridge.sender import Sender
import bridge.sources.watch, bridge.sources.stack, bridge.sources.folder, bridge.sources.simulated
report = send(sys.argv[1], sys.argv[2], **({"idle_s": 0.2} if sys.argv[3] == "watch" else {"watch": False}))
assert report.ended, report.lines()
heavy = {"matplotlib", "pandas", "trackpy", "tornado", "click", "rich", "numba", "h5py"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("what", ["watch", "finished", "simulated"])
def test_send_runs_with_every_linux_only_module_blocked(tmp_path: Path, what: str) -> None:
    memory = Memory()
    files(tmp_path, list(range(10)))
    source = "simulated?beads=2&live=0&frames=10" if what == "simulated" else str(tmp_path)
    with FakeReceiver(memory) as receiver:
        done = subprocess.run(
            [sys.executable, "-P", "-c", WITHOUT_LINUX, source, receiver.address, what],
            capture_output=True, text=True, timeout=60, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert memory.counters == list(range(10))


def test_a_sender_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """Two starts of one folder, the first killed in mid-run: each frame arrives once."""
    memory = Memory()
    files(tmp_path, list(range(200)))
    program = "import sys; from bridge.send import send; send(sys.argv[1], sys.argv[2], watch=False, fps=300)"
    with FakeReceiver(memory) as receiver:
        command = [sys.executable, "-P", "-c", program, str(tmp_path), receiver.address]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        with subprocess.Popen(command, env=environment) as first:
            wait_until(lambda: len(memory.frames) > 30, 30)
            first.kill()
        taken = len(memory.frames)
        assert taken < 200
        send(str(tmp_path), receiver.address, watch=False)
    assert memory.counters == list(range(200))
    assert memory.losses == []
