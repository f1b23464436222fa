"""What tests of the archive share: camera files, and a keeper whose crew, disk and clock are the test's."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from recorders.archive.crew import Crew
from recorders.archive.index import Index
from recorders.archive.keeper import Keeper
from recorders.archive.level import Level
from recorders.archive.worker import Answer, Request, do


def image(n: int, shape: tuple[int, int] = (24, 32), dtype: str = "uint16") -> NDArray[Any]:
    return np.random.default_rng(n).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def camera_file(folder: Path, n: int, seed: int | None = None) -> Path:
    path = folder / f"img_{n:04d}.tif"
    tifffile.imwrite(path, image(n if seed is None else seed), description=f'frame {n} <"&', metadata=None)
    os.utime(path, ns=(10**18, 10**18 + n))
    return path


class Disk:
    """How much of 1000 bytes is used, and the time: both are what the test says."""

    def __init__(self) -> None:
        self.used, self.now = 0, 0.0

    def __call__(self, folder: Path) -> tuple[int, int]:
        return 1000, self.used


class Hands(Crew):
    """A crew whose work is done when the test says so."""

    def __init__(self) -> None:
        self.work: deque[tuple[Any, Request]] = deque()
        self.done: list[tuple[Any, Request, Answer]] = []
        self.restarts = 0
        self.first = False

    def submit(self, token: Any, request: Request) -> None:
        self.work.append((token, request))

    def results(self, timeout_s: float = 0.0) -> list[tuple[Any, Request, Answer]]:
        out, self.done = self.done, []
        return out

    def verify_first(self, yes: bool) -> None:
        self.first = yes

    @property
    def idle(self) -> bool:
        return not self.work and not self.done

    def finish(self, answer: Answer | None = None) -> str:
        """Do the next request, or answer it so."""
        token, request = self.work.popleft()
        self.done.append((token, request, answer or do(request)))
        return request.do


class Bench:
    """A keeper with hands instead of a crew; its disk is as full as the test says, each look at its clock a second."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.ram, self.dest = folder / "ram", folder / "dest"
        self.ram.mkdir(exist_ok=True)
        self.dest.mkdir(exist_ok=True)
        self.hands, self.disk, self.said = Hands(), Disk(), []
        self.index = Index(self.dest)
        self.options = options

    def __enter__(self) -> Bench:
        self.index.__enter__()
        level = Level(self.ram, 0.8, self.disk, self.clock)
        self.keeper = Keeper(
            self.ram, self.dest, self.hands, self.index, complain=self.said.append, level=level, clock=self.clock,
            **self.options,
        ).__enter__()  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self.keeper.__exit__()
        self.index.__exit__()

    def clock(self) -> float:
        self.disk.now += 1.0
        return self.disk.now

    def step(self, answer: Answer | None = None) -> str:
        did = self.hands.finish(answer)
        self.keeper.tick()
        return did
