"""Files as cameras write them, and what a source gave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tifffile
from helpers_reception import image

from bridge.sources import Shot, Unreadable
from bridge.wire import Answer, Verdict

WELCOME = Answer(verdict=Verdict.WELCOME)


def resume(counter: int) -> Answer:
    """A welcome that asks for the frames from this one on."""
    return Answer(verdict=Verdict.WELCOME, resume=counter)


def tiff(path: Path, value: int = 0, **options: Any) -> Path:
    """A picture whose pixels are all `value`."""
    tifffile.imwrite(path, image(value), **options)
    return path


def counters(found: Sequence[Shot | Unreadable | None]) -> list[int]:
    return [one.counter for one in found if isinstance(one, Shot)]


def complaints(found: Sequence[Shot | Unreadable | None]) -> list[Unreadable]:
    return [one for one in found if isinstance(one, Unreadable)]


def times(shots: Sequence[Shot]) -> list[int]:
    """Camera times; every shot has one."""
    found = [shot.t_ns for shot in shots if shot.t_ns is not None]
    assert len(found) == len(shots)
    return found
