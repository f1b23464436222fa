"""What was commanded, as rows of `engine.light.SLM_ROW` in a file of this process alone: one write a command."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from bridge.slm.holding import Command, Hold
from engine.light import FOLDER, SLM_ROW


class Logbook:
    """A context manager; each process has a part of its own, so that a restarted one never writes after half a row."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder / FOLDER

    def __enter__(self) -> Logbook:
        self._folder.mkdir(exist_ok=True)
        number = 1 + max((int(p.stem) for p in self._folder.glob("*.rows") if p.stem.isdecimal()), default=0)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.open(self._folder / f"{number:04d}.rows", flags, 0o644)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def write(self, command: Command, state: str, shown: bool, t_command_ns: int) -> None:
        """A row for each trap. Raises OSError (the disk is full)."""
        rows = np.zeros(len(command.held), SLM_ROW)
        rows["frame"], rows["t_camera_ns"], rows["t_command_ns"] = command.frame, command.t_camera_ns, t_command_ns
        rows["age_ns"], rows["command"], rows["shown"] = t_command_ns - command.t_camera_ns, command.number, shown
        rows["state"] = state.encode()
        for row, trap in zip(rows, command.held):
            row["trap"], row["particle"], row["z"], row["intensity"] = (
                trap.number,
                trap.particle,
                trap.z,
                trap.intensity,
            )
            row["held"] = trap.hold is Hold.HELD
            row["x"], row["y"] = (np.nan, np.nan) if trap.seen is None else trap.seen
            row["target_x"], row["target_y"] = trap.target
            row["light_x"], row["light_y"] = trap.light
        if len(rows):
            os.write(self._file, rows.tobytes())
