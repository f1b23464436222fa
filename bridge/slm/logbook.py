"""What was commanded, as rows of `engine.light.SLM_ROW` in a file of this process alone: one write a command."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from bridge.slm.holding import Command, Hold
from engine.light import FOLDER, SLM_ROW

_NOWHERE = np.full(2, np.nan)


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
        held = command.held
        for name in ("particle", "z", "intensity"):
            rows[name] = [getattr(trap, name) for trap in held]
        rows["trap"] = [trap.number for trap in held]
        rows["held"] = [trap.hold is Hold.HELD for trap in held]
        places = {"": [_NOWHERE if trap.seen is None else trap.seen for trap in held],
                  "target_": [trap.target for trap in held], "light_": [trap.light for trap in held]}  # fmt: skip
        for name, at in places.items():
            rows[f"{name}x"], rows[f"{name}y"] = np.array(at).reshape(-1, 2).T
        if len(rows):
            os.write(self._file, rows.tobytes())
