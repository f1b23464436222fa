"""Faults for runs of the whole: processes killed or stopped at a place of the ring, and what a run must come to then.

A *victim* is a kind of process ("tracker": one of those that work, never a spare). `SEED` chooses the moments; it is
printed, and RINGTRACK_SEED sets it again.
"""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.system.running import Ended, Laboratory, Running, diffusing

VICTIMS = ("receiver", "tracker", "linker", "recorder", "source")
SEED = int(os.environ.get("RINGTRACK_SEED", "0")) or int.from_bytes(os.urandom(4), "big")
FRAMES = 120
SMALL: dict[str, dict[str, Any]] = {
    "camera": {"width": 256, "height": 256, "dtype": "uint8", "fps": 100},
    "ring": {"seconds": 0.25, "max_particles": 512},  # a ring that is full most of the time
    "tracking": {
        "diameter": 11, "separation": 12, "minmass": 50, "percentile": 64, "max_ecc": 0, "workers": 2,
        "tile_width": 128, "tile_height": 128,
    },
    "linking": {"search_range": 6, "memory": 2},
    "record": {"flush_s": 0.1},
}  # fmt: skip
"""Settings for the frames of `small`."""


def chance(*names: object) -> random.Random:
    """Random numbers of this test; what a failure shows says how to have them again."""
    print(f"RINGTRACK_SEED={SEED}")
    return random.Random(f"{SEED} {names}")


@cache
def small(frames: int = FRAMES) -> NDArray[Any]:
    """Small frames with some 25 particles each."""
    return diffusing(30, frames, (256, 256), seed=3, dtype="uint8")


def settings_of(size: int, fps: float, **sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings for a simulated camera with square frames; any loss is allowed, and counted."""
    camera = {"width": size, "height": size, "dtype": "uint16", "fps": fps}
    tracking = {**SMALL["tracking"], "minmass": 1000, "tile_width": 0, "tile_height": 0}
    return {"camera": camera, "tracking": tracking, "experiment": {"max_lost": 10**9}, **sections}


def camera(size: int, fps: float, frames: int, live: bool = True) -> str:
    return f"simulated?width={size}&height={size}&beads={size // 10}&fps={fps:g}&loop=16&frames={frames}&live={live}"


_undisturbed: list[bytes] = []


def undisturbed(lab: Laboratory) -> bytes:
    """`/tracks` of `small()` with the settings SMALL when nobody is harmed; one run for all tests."""
    if not _undisturbed:
        ended = lab.run(lab.settings(SMALL), "--source", lab.stack(small()))
        assert_undisturbed(ended, ended.tracks_bytes, FRAMES)
        assert len(ended.record.tracks_array) > 10 * FRAMES
        _undisturbed.append(ended.tracks_bytes)
    return _undisturbed[0]


class Target:
    """One life of a process of a run: `signal` reaches it and nobody else, `wait` returns once it is dead."""

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    @property
    def dead(self) -> bool:
        return bool(select.select([self._fd], [], [], 0)[0])

    def signal(self, number: int) -> None:
        signal.pidfd_send_signal(self._fd, number)

    def wait(self, timeout_s: float = 10.0) -> None:
        assert select.select([self._fd], [], [], timeout_s)[0], f"{self.name} still lives after {timeout_s:g} s"

    def close(self) -> None:
        os.close(self._fd)


def target(run: Running, kind: str, dice: random.Random | None = None, timeout_s: float = 60.0) -> Target | None:
    """A living process that does the work of this kind; None if the run ends before there is one."""
    end = time.monotonic() + timeout_s
    while run.process.poll() is None:
        names = run.working(kind)
        if dice is not None:
            dice.shuffle(names)
        for name in names:
            found = _life(name, run.pid(name))
            if found is not None:
                return found
        assert time.monotonic() < end, f"waited {timeout_s:g} s for a {kind} that lives"
        time.sleep(0.001)
    return None


def everybody(run: Running) -> list[Target]:
    """All processes of a run but the supervisor."""
    lives = [_life(process.name, run.pid(process.name)) for process in run.plan.processes]
    return [life for life in lives if life is not None]


def strike(run: Running, kinds: Iterable[str], dice: random.Random | None = None) -> list[str]:
    """Kill -9 one process of each kind, all at the same moment; the names of those that were there to be killed."""
    found = [life for kind in kinds if (life := target(run, kind, dice)) is not None]
    names = []
    try:
        for life in found:
            if not life.dead:
                life.signal(signal.SIGKILL)
                names.append(life.name)
        for life in found:
            life.wait()
    finally:
        for life in found:
            life.close()
    return names


def reached(run: Running, place: int, timeout_s: float = 60.0) -> bool:
    """Wait until so many places are published; False if the run ends before."""
    end = time.monotonic() + timeout_s
    while run.published < place:
        if run.process.poll() is not None:
            return False
        assert time.monotonic() < end, f"{run.published} frames after {timeout_s:g} s, {place} wanted"
        time.sleep(0.0005)
    return True


def killed_at(
    lab: Laboratory, settings: Path, source: Path, kills: Sequence[tuple[int, Sequence[str]]], dice: random.Random
) -> tuple[Ended, list[str]]:
    """A run in which processes are killed: (places published, kinds) one after the other; who was killed."""
    names: list[str] = []
    with lab.started(settings, "--source", source, *(["--finished"] if source.is_dir() else [])) as run:
        for place, kinds in kills:
            if not reached(run, place):
                break
            names += strike(run, kinds, dice)
        return run.wait(), names


def assert_undisturbed(ended: Ended, reference: bytes, frames: int, killed: Sequence[str] = ()) -> None:
    """The run came out as if nothing had happened; the deaths are in its log and in its summary."""
    assert ended.status == 0, ended.stderr
    assert ended.counts == (frames, frames, frames, 0), f"{ended.counts}\n{ended.stdout}\n{ended.stderr}"
    assert ended.tracks_bytes == reference
    assert ended.summary["lost"] == []
    assert_clean(ended)
    died = [line["message"].split()[0] for line in ended.log if line.get("event") == "died"]
    assert sorted(died) == sorted(killed)
    for name in set(killed):
        assert 0 <= killed.count(name) - ended.summary["restarts"].get(name, 0) <= 1  # the last one may not be due


def assert_clean(ended: Ended) -> None:
    """Nothing is left in /dev/shm, and one recording."""
    assert names_in_shm(ended.summary["run_id"]) == []
    assert len(list(ended.folder.glob("*.h5*"))) == 1


def names_in_shm(run_id: str) -> list[str]:
    return sorted(path.name for path in Path("/dev/shm").glob(f"*{run_id}*"))


def lost_numbers(ranges: Iterable[dict[str, Any]]) -> dict[int, tuple[str, str]]:
    """Frame number: (step, cause) of a summary's list of losses, each number once."""
    numbers: dict[int, tuple[str, str]] = {}
    for one in ranges:
        for number in range(one["first"], one["last"] + 1):
            assert number not in numbers, f"frame {number} is lost twice"
            numbers[number] = one["step"], one["cause"]
    return numbers


def lost_rows(table: NDArray[np.void]) -> dict[int, tuple[str, str]]:
    """The same, counted from the rows of `/frames`, of which there is one for each number."""
    assert len(np.unique(table["frame"])) == len(table)
    gone = table[table["state"] != b"tracked"]
    return {int(row["frame"]): (row["step"].decode(), row["cause"].decode()) for row in gone}


def _life(name: str, pid: int) -> Target | None:
    if pid == 0:
        return None
    try:
        life = Target(name, pid)
    except ProcessLookupError:
        return None
    if life.dead:
        life.close()
        return None
    return life
