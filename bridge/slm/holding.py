"""One trap and what it holds; a way that several traps go together; what is wanted of them, as messages.

    WANTED ──its particle was near it for settle_frames──► HELD ──not seen──► FROZEN ──seen again──► HELD

A trap takes the nearest free particle when a person makes it, or says `catch`; from then on it is that particle's.
FROZEN: the light stays where it is, until that very particle is seen again or a person says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.slm.feedback import Controller
from bridge.slm.hologram import Trap

Array = NDArray[np.float64]


class Hold(Enum):
    """What a trap holds."""

    WANTED = "wanted"
    HELD = "held"
    FROZEN = "frozen"


@dataclass
class HeldTrap:
    """A trap by its number; lengths in pixels of the camera."""

    number: int
    control: Controller
    intensity: float = 1.0
    z: float = 0.0
    particle: int = -1
    hold: Hold = Hold.WANTED
    near: int = 0  # frames for which it saw the particle that it is about to take
    seen: Array | None = None  # in the newest frame

    @property
    def light(self) -> Array:
        return self.control.light

    @property
    def target(self) -> Array:
        return self.control.target

    def as_dict(self) -> dict[str, Any]:
        """For clients."""
        seen = None if self.seen is None else [round(float(v), 3) for v in self.seen]
        return {
            "trap": self.number, "particle": self.particle, "hold": self.hold.value, "seen": seen,
            "x": float(self.target[0]), "y": float(self.target[1]), "z": self.z, "intensity": self.intensity,
            "light": [float(v) for v in self.light],
        }  # fmt: skip


@dataclass
class Way:
    """Places `(steps, n, 2)` that the traps `numbers` go through together."""

    numbers: list[int]
    places: Array
    done: int = 0
    waits: str = ""  # why it does not go on

    @property
    def over(self) -> bool:
        return self.done >= len(self.places)


@dataclass
class Seen:
    """One frame as the light needs it: particles `ids` at `(x, y)` `at`, in pixels."""

    frame: int
    t_camera_ns: int
    ids: NDArray[np.int64]
    at: Array
    sequence: int = 0


@dataclass
class Command:
    """What the light shall be because of one frame."""

    number: int
    frame: int
    t_camera_ns: int
    held: list[HeldTrap]
    traps: list[Trap] = field(default_factory=list)  # for the display
    refusal: str = ""  # why it must not be shown; "": it may
    changed: bool = True  # False: the display shows just that
