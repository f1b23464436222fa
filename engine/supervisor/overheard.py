"""What the processes of a run complain of, for whoever sits at the terminal: warnings in the run's log, as they come.

Every process appends its lines to one file; reading on in it costs nobody anything.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

EVERY_S = 0.5
MOST = 20
"""Different complaints are told of; a camera that sends the wrong frames all night is not to fill the terminal."""
_TOLD_BY_ITSELF = "supervisor"  # it speaks for itself


class Overheard:
    """Reads on in the log at each `poll`, and says each complaint once."""

    def __init__(self, log: Path, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._say = say
        self._clock = clock
        self._due = 0.0
        self._position = 0
        self._said: set[str] = set()

    def poll(self, at_once: bool = False) -> None:
        """Look, if it is time to."""
        now = self._clock()
        if now < self._due and not at_once:
            return
        self._due = now + EVERY_S
        try:
            with self._log.open("rb") as file:
                file.seek(self._position)
                data = file.read()
        except OSError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.splitlines():
            self._hear(line)

    def _hear(self, line: bytes) -> None:
        try:
            said = json.loads(line)
            process, level, message = said["process"], said["level"], said["message"]
        except (ValueError, KeyError, TypeError):
            return
        if level not in ("warning", "error") or process == _TOLD_BY_ITSELF or len(self._said) > MOST:
            return
        text = f"{process}: {message}"
        if text not in self._said:
            self._said.add(text)
            self._say(text if len(self._said) <= MOST else "more complaints are in the log: log.jsonl")
