"""Features: what refinement finds at a local maximum, one row of floats each.

The columns are those of `trackpy.refine`, followed by the saturated pixels and the maximum it started from. Sums of
integers stay below 2**53, so they are exact, and so is the row and the column.
"""

from __future__ import annotations

from enum import IntEnum


class Column(IntEnum):
    """What a feature's numbers mean. Masses and signal are in levels: divide by the frame's scale."""

    Y = 0  # centroid, pixels
    X = 1
    MASS = 2  # sum of the levels in the mask
    SIZE = 3  # radius of gyration, pixels; of an ellipse: of y
    SIZE_X = 4  # of x
    ECC = 5
    SIGNAL = 6  # largest level in the mask
    RAW_MASS = 7  # sum of the camera's pixels in the mask (inverted if asked for)
    SATURATED = 8  # pixels in the mask at the sensor's limit
    ROW = 9  # of the maximum
    COLUMN = 10


COLUMNS = 12  # of the table; 96 bytes a feature
