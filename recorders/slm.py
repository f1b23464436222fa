"""What was commanded to the light: from a run's folder into the table `/slm` of its file.

Each process of the light left a part `slm/NNNN.rows` (`engine.light.SLM_ROW`). Half a row at the end of one, of a
process that was killed, is left out.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from engine.light import FOLDER, SLM_ROW
from recorders.tables import Table

NAME = "slm"


def read_slm(run_folder: Path) -> Table | None:
    """All rows in the order of the parts; None if the run had no light."""
    parts = sorted((run_folder / FOLDER).glob("*.rows"))
    if not parts:
        return None
    out = []
    for part in parts:
        data = part.read_bytes()
        out.append(np.frombuffer(data[: len(data) - len(data) % SLM_ROW.itemsize], SLM_ROW))
    return np.concatenate(out)


def write_slm(file: h5py.File, run_folder: Path) -> None:
    """Put them into `/slm`, in place of what is there."""
    rows = read_slm(run_folder)
    if rows is None:
        return
    if NAME in file:
        del file[NAME]
    file.create_dataset(NAME, data=rows)
