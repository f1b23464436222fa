"""Runs of the model (`shm_model`) by real processes over real segments, some of which are killed at a named step.

Started by `test_crash_points` as a program: it has one thread and has imported everything, so that it can fork a
process in milliseconds. Each line of standard input is a run, `{"folder": …, "poison": …}`; each line of standard
output what came of it, `{"wrong": null or what, "deaths": n}`. The crashes are planned in the folder
(`tests.crashing`).
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import time
import traceback
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from engine.shm.cursors import CursorTable, Gap
from engine.shm.segment import Segment
from engine.shm.steps import run
from engine.shm.wakeup import LONGEST_S
from tests.engine.shm.shm_model import World
from tests.engine.shm.shm_model_actors import IDLE, Life
from tests.engine.shm.shm_model_memory import SegmentMemory

FRAMES = 16
LIMIT_S = 60.0


class FileList(list[Any]):
    """A list that only grows, in a file: what a recorder has flushed is safe from its death."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def extend(self, items: Iterable[Any]) -> None:
        lines = "".join(repr(item) + "\n" for item in items)
        with self._path.open("a") as file:  # one write
            file.write(lines)

    def read(self) -> list[Any]:
        return [eval(line, {"Gap": Gap}) for line in self._path.read_text().splitlines()]  # noqa: S307


def one_run(folder: Path, poison: dict[int, tuple[int, int, str]]) -> dict[str, Any]:
    run_id, deaths = secrets.token_hex(8), 0
    with ExitStack() as segments:
        world = World(
            frames=FRAMES,
            workers=2,
            memory=lambda kind, size: SegmentMemory(segments.enter_context(Segment.create(run_id, kind, size))),
        )
        world.poison = poison
        files = []
        for name, recording in (("results", world.result_recording), ("frames", world.frame_recording)):
            kept, gaps = FileList(folder / f"{name}.kept"), FileList(folder / f"{name}.gaps")
            recording.kept, recording.gaps = kept, gaps
            files.append((recording, kept, gaps))
        pids = {_fork(world, name, folder): name for name in world.actors}
        end = time.monotonic() + LIMIT_S
        try:
            while not _is_over(world):
                if time.monotonic() > end:
                    raise AssertionError(f"not over after {LIMIT_S} s: frames {world.frames.newest}, "
                                         f"results {world.results.newest}, dead {deaths}")  # fmt: skip
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    world.results.published.wait(world.results.published.rings(), 0.002)
                    continue
                name = pids.pop(pid)
                if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
                    raise AssertionError((folder / f"{name}.error").read_text())
                deaths += 1
                world.note_death(name)
                world.reap(name)
                pids[_fork(world, name, folder)] = name
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            for pid in pids:
                os.waitpid(pid, 0)
        for name in world.actors:
            world.note_death(name)
            world.reap(name)
        for recording, kept, gaps in files:
            recording.kept, recording.gaps = kept.read(), gaps.read()
        world.check_account()
    return {"wrong": None, "deaths": deaths}


def _is_over(world: World) -> bool:
    """Every frame was taken, published and recorded."""
    taken, losses = world.frames.newest + 1, world.ledger.count
    cursors = [CursorTable(ring).cursor(0) for ring in (world.frames, world.results)]
    return taken + losses == FRAMES and {world.results.newest, *cursors} == {taken - 1}


def _fork(world: World, name: str, folder: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.environ["RINGTRACK_CRASHES"] = str(folder)
        sys.argv = [sys.argv[0], name]
        run(_paced(world, world.actors[name].start()))
    except BaseException:
        (folder / f"{name}.error").write_text(traceback.format_exc())
    os._exit(1)


def _paced(world: World, life: Life) -> Life:
    """Sleep where there is nothing to do."""
    bell = world.units.work
    for step in life:
        if step == IDLE:
            bell.wait(bell.rings(), min(0.002, LONGEST_S))
        else:
            yield step


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        poison = {int(counter): tuple(unit) for counter, unit in asked["poison"].items()}
        try:
            answer = one_run(Path(asked["folder"]), poison)
        except BaseException:
            answer = {"wrong": traceback.format_exc(), "deaths": -1}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
