"""Real recordings, beside the repository in ../shared/data (or where RINGTRACK_DATA says). Never inside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

FOLDER = Path(os.environ.get("RINGTRACK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

BULK_WATER = FOLDER / "bulk_water" / "bulk_water_green_u8.tif"
STUCK = FOLDER / "stuck_u16" / "stuck.tif"
STORM = FOLDER / "storm_u16" / "storm_bg_sub_u16.tif"


def frames(path: Path) -> NDArray[Any]:
    """All frames of a recording; skips the test, saying so, where the recording is not there."""
    if not path.exists():
        pytest.skip(f"NOT TESTED: real frames ({path} is missing: RINGTRACK_DATA names the folder of recordings)")
    import tifffile

    stack: NDArray[np.unsignedinteger] = tifffile.imread(path)
    return stack
