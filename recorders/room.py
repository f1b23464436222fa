"""How much room there is where a recorder writes; and whether there still is such a place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from engine.errors import MachineError

MIN_FREE_BYTES = 64 * 1024 * 1024
"""Left by the recorders of pixels, for the tables."""
LOOK_EVERY = 64
"""Frames that are written between two looks at the disk, which has room for them."""


def refuse_if_full(folder: Path, recorder: str, spare: int) -> None:
    """Raises MachineError unless a recorder of pixels has room for `spare` bytes: the tables go on meanwhile.

    Also if the folder is gone: a drive that was taken away.
    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise MachineError(gone(folder, recorder, error)) from None
    if free < MIN_FREE_BYTES + spare:
        raise MachineError(
            f'recorder "{recorder}" stopped: {folder} is full ({free / 2**30:.1f} GiB free). Particles are still being '
            "recorded."
        )


def gone(folder: Path, recorder: str, error: OSError) -> str:
    """The sentence for it."""
    why = os.strerror(error.errno or 5)
    return f'recorder "{recorder}" stopped: {folder} is gone ({why}). Frames are still being tracked.'
