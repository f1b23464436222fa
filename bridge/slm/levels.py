"""Levels: phase as displays take it, uint8, 256 of them a period of 2π."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.uint8]

PERIOD = 256
"""Levels of a phase of 2π, before a modulator's look-up table."""
NO_PHASE = 128


def no_phase(height: int, width: int) -> Levels:
    """A mirror: all light stays in the zero order, and none is in traps."""
    return np.full((height, width), NO_PHASE, np.uint8)


def phase_of(levels: Levels) -> NDArray[np.float32]:
    """Radians, from -π on."""
    return (levels.astype(np.float32) - np.float32(NO_PHASE)) * np.float32(2 * math.pi / PERIOD)
