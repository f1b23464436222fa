"""What `run.json` tells of a run whose file was cut short.

A recorder that is killed (the run was stopped by force, or the recorder stayed dead) leaves a file that ends early and
knows nothing of what came after. The supervisor does: it counted the frames in shared memory and wrote them down as it
left. Who reads such a run reads both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.accounting import CAUSE_WORDS, Cause, Step
from recorders.tables import RANGES, STEPS, Table

_CAUSES = {words: cause for cause, words in CAUSE_WORDS.items()}


class _Range(msgspec.Struct, frozen=True):
    first: int
    last: int
    step: str
    cause: str


class _Step(msgspec.Struct, frozen=True):
    step: str
    arrived: int
    out: int
    lost: int
    in_flight: int


class Told(msgspec.Struct, frozen=True):
    """The summary in `run.json`, as far as it is needed here."""

    run_id: str
    status: int
    reason: str
    frames_tracked: int
    frames_recorded: int
    frames_lost: int
    frames_paused: int
    accounting: list[_Step]
    lost: list[_Range]


def told_of(folder: Path, run_id: str) -> Told | None:
    """The summary of this run; None: there is none (it goes on, or its supervisor was killed too)."""
    try:
        content = msgspec.json.decode((folder / "run.json").read_bytes(), type=dict[str, Any])
        told = msgspec.convert(content["summary"], Told)
    except (OSError, KeyError, msgspec.MsgspecError):
        return None
    return told if told.run_id == run_id else None


def lost_with(told: Told, ranges: Table) -> Table:
    """`/accounting/lost` and what `run.json` has beyond it, as one table in the order of frames."""
    known = sorted((int(r["first"]), int(r["last"])) for r in ranges)
    more = []
    for one in told.lost:
        for first, last in _outside(one.first, one.last, known):
            step, cause = Step[one.step.upper()], _CAUSES.get(one.cause, Cause.PART_STAYED_DEAD)
            row = np.zeros(1, RANGES)
            row["first"], row["last"], row["sequence"], row["t_ns"] = first, last, -1, -1
            row["step"], row["cause"] = one.step.encode(), one.cause.encode()
            row["step_code"], row["cause_code"] = step, cause
            more.append(row)
            known = sorted([*known, (first, last)])
    table: Table = np.concatenate([ranges, *more])
    return table[np.argsort(table["first"], kind="stable")]


def account_with(told: Told) -> Table:
    """`/accounting/steps` as `run.json` has it; paused frames are the recorder's, as in the file."""
    table = np.zeros(len(told.accounting), STEPS)
    for row, step in zip(table, told.accounting):
        paused = told.frames_paused if step.step == Step.RECORDER.name.lower() else 0
        row["step"], row["in"], row["out"] = step.step.encode(), step.arrived + paused, step.out + paused
        row["lost"], row["in_flight"] = step.lost, step.in_flight
    return table


def _outside(first: int, last: int, known: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts of a range that no known one covers; `known` in order."""
    left = []
    for known_first, known_last in known:
        if known_last < first:
            continue
        if known_first > last:
            break
        if known_first > first:
            left.append((first, known_first - 1))
        first = known_last + 1
    if first <= last:
        left.append((first, last))
    return left
