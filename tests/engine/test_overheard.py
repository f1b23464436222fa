"""Who sits at the terminal hears what the processes complain of: once each, and not without end."""

from __future__ import annotations

import json
from pathlib import Path

from engine.supervisor.overheard import MOST, Overheard


def line(process: str, level: str, message: str) -> str:
    return json.dumps({"process": process, "level": level, "message": message}) + "\n"


def test_each_complaint_is_said_once_when_its_line_is_whole(tmp_path: Path) -> None:
    log, said, now = tmp_path / "log.jsonl", list[str](), [0.0]
    overheard = Overheard(log, said.append, clock=lambda: now[0])
    overheard.poll()  # there is no log yet
    refused = line("receiver", "warning", "refused: frame 0 is 3x4 uint8")
    log.write_text(
        line("receiver", "info", "listening") + refused + line("supervisor", "warning", "own") + refused[:20]
    )
    overheard.poll()
    assert said == []  # it was looked at just now
    now[0] += 1
    overheard.poll()
    assert said == ["receiver: refused: frame 0 is 3x4 uint8"]
    with log.open("a") as file:
        file.write(refused[20:] + "no JSON\n" + line("hdf5", "error", "the disk is full"))
    overheard.poll(at_once=True)
    assert said[1:] == ["hdf5: the disk is full"]


def test_a_flood_of_complaints_ends_with_where_the_others_are(tmp_path: Path) -> None:
    log, said = tmp_path / "log.jsonl", list[str]()
    log.write_text("".join(line("receiver", "warning", f"number {n}") for n in range(500)))
    Overheard(log, said.append).poll()
    assert len(said) == MOST + 1
    assert said[-1] == "more complaints are in the log: log.jsonl"
