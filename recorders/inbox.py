"""The inbox of a run: events that other processes and people append to `events.jsonl`, for the recorder's `/events`.

A line is a JSON object with at least `event` (its kind) and `t_ns` (our clock). A recorder that starts again reads the
inbox from the beginning; whoever puts the parts together drops what is there twice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

NAME = "events.jsonl"


class InboxEvent(NamedTuple):
    """One line of the inbox; `text` is its JSON."""

    t_ns: int
    kind: str
    text: str


class Inbox:
    """Reads what was appended since the last time; a line counts when it is whole."""

    def __init__(self, run_folder: Path) -> None:
        self._path = run_folder / NAME
        self._position = 0

    def read(self) -> list[InboxEvent]:
        """New events, oldest first. Lines that are none of ours are passed over."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        return [event for line in whole.splitlines() if (event := _parsed(line)) is not None]


def _parsed(line: bytes) -> InboxEvent | None:
    try:
        fields = json.loads(line)
        return InboxEvent(int(fields["t_ns"]), str(fields["event"]), json.dumps(fields))
    except (ValueError, KeyError, TypeError):
        return None
