"""How much room there is where a recorder writes; and whether there still is such a place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from engine.errors import MachineError


def free_bytes(folder: Path, recorder: str) -> int:
    """Free bytes of the disk of a folder. Raises MachineError if the folder is gone: a drive that was taken away."""
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise MachineError(gone(folder, recorder, error)) from None


def gone(folder: Path, recorder: str, error: OSError) -> str:
    """The sentence for it."""
    why = os.strerror(error.errno or 5)
    return f'recorder "{recorder}" stopped: {folder} is gone ({why}). Frames are still being tracked.'
