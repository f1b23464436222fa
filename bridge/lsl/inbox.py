"""What others wrote into the run's events, for those who act on it while it happens: new lines of `events.jsonl`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class NewEvents:
    """Reads lines that were appended after this object was made (or all, with `from_start`)."""

    def __init__(self, run_folder: Path, *, from_start: bool = False) -> None:
        self._path = run_folder / "events.jsonl"
        self._position = 0 if from_start or not self._path.exists() else self._path.stat().st_size

    def read(self) -> list[dict[str, Any]]:
        """New events, oldest first; lines that are none, or not whole yet, are passed over or left for later."""
        try:
            if self._path.stat().st_size <= self._position:
                return []
            with self._path.open("rb") as file:
                file.seek(self._position)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        return [event for line in whole.splitlines() if (event := _parsed(line)) is not None]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
        return event if isinstance(event["event"], str) and isinstance(event["t_ns"], int) else None
    except (ValueError, KeyError, TypeError):
        return None
