"""Backgrounds that the run made of its own frames, put into force as they turn up on the disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from bridge.tuning import Tuning
from engine.workers.moving_background import number_of, path_of

if TYPE_CHECKING:
    from engine.process import Job

LOOK_EVERY_S = 0.25


class Backgrounds:
    """Looks for the run's next background (see `engine.workers.moving_background`)."""

    def __init__(
        self, job: Job, tuning: Tuning, note: Callable[[str, str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`note(kind, message)` writes into the events of the run."""
        self._folder = job.run_folder
        self._active = job.experiment.correction.background_s > 0
        self._tuning, self._note, self._clock = tuning, note, clock
        self._due = 0.0
        path = tuning.live.version(tuning.live.newest).background
        self._next = number_of(path) + 1 if path else 1

    def look(self) -> None:
        """Put the newest into force. Raises SettingsError while no further version fits; then it is tried again."""
        if not self._active or self._clock() < self._due:
            return
        self._due = self._clock() + LOOK_EVERY_S
        number = self._next
        while path_of(self._folder, number).exists():
            number += 1
        if number == self._next:
            return
        newest = path_of(self._folder, number - 1)
        version = self._tuning.background(str(newest))
        self._next = number
        self._note("background", f"{newest.name} is subtracted under version {version} of the settings")
