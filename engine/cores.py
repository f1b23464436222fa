"""Processor cores: those of this machine, and lists of them as people write them ("2-37,40")."""

from __future__ import annotations

import os


def parse_cores(text: str) -> tuple[int, ...]:
    """ "2-37,40" as core numbers in order, none twice. Raises ValueError if it is not of that form."""
    cores: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(part)
        stretch = range(int(first), int(last if dash else first) + 1)
        if not stretch or len(stretch) > 4096:
            raise ValueError(part)
        cores.update(stretch)
    return tuple(sorted(cores))


def stretches(cores: tuple[int, ...]) -> str:
    """Core numbers in the form that `parse_cores` reads."""
    parts: list[list[int]] = []
    for core in cores:
        if parts and core == parts[-1][1] + 1:
            parts[-1][1] = core
        else:
            parts.append([core, core])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)


def existing_cores() -> tuple[int, ...]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))
