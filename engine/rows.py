"""What tracking says of a frame: one record a frame, one row a particle.

The last unit of a frame's tracking writes both into the result ring, unpublished; the linker fills in `particle`,
`vx`, `vy`, `age` and its times and publishes. Names are trackpy's. The order of a frame's rows is the raster order of
the brightest pixels.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from engine.frames import FRAME_META

ROW = np.dtype(
    [
        ("frame", "<i8"),
        ("particle", "<i8"),  # identity across frames, from 0 in order of appearance
        ("x", "<f8"),  # pixels; the origin is the centre of the top-left pixel
        ("y", "<f8"),  # pixels, down
        ("mass", "<f4"),
        ("ecc", "<f4"),
        ("size", "<f4"),
        ("signal", "<f4"),
        ("raw_mass", "<f4"),
        ("ep", "<f4"),
        ("vx", "<f4"),  # pixels per second; NaN for a particle's first row
        ("vy", "<f4"),
        ("age", "<i4"),  # frames since the particle was first seen
        ("saturated", "<i4"),  # pixels of the feature at the sensor's limit
    ]
)


class State(IntEnum):
    """What became of a frame."""

    TRACKED = 0
    FAILED = 1  # a unit of its work failed twice: no rows, and a missing frame for linking


FILTERS = ("minmass", "maxmass", "max_ecc", "minsize", "maxsize", "min_signal")
"""The order in which features are filtered; each counts what it alone removed from what the earlier ones left."""

_OWN = [
    ("t_tracked_ns", "<i8"),
    ("t_linked_ns", "<i8"),
    ("t_published_ns", "<i8"),
    ("saturated", "<i8"),  # pixels of the whole frame at the sensor's limit
    ("found", "<i4"),  # features before the filters
    ("rows", "<i4"),  # rows that follow
    ("overflow", "<i4"),  # rows cut because there were more than ring.max_particles, weakest first
    ("state", "<i4"),  # State
    ("attempts", "<i4"),  # most attempts that a unit of this frame took
] + [(f"removed_{name}", "<i4") for name in FILTERS]


def _result_meta() -> np.dtype:
    inherited = [(name, FRAME_META[name]) for name in FRAME_META.names or ()]
    return np.dtype(inherited + _OWN, align=True)


RESULT_META = _result_meta()
"""The frame's own record (FRAME_META, same names) followed by what tracking adds."""

STEP_TIMES = {
    "network": ("t_sent_ns", "t_received_ns"),
    "tracking": ("t_received_ns", "t_tracked_ns"),
    "linking": ("t_tracked_ns", "t_linked_ns"),
    "total": ("t_received_ns", "t_published_ns"),
}
"""Where a frame's time goes, for people: each step's begin and end, fields of RESULT_META."""
