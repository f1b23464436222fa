"""The simulated experiment in lock-step: its clock advances when the command for frame n - delay is in.

Beads are in the traps that a phase really makes: the intensity of each is read off the far field of the phase that is
shown, and its stiffness is in proportion. No time passes but by `frame`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bridge.slm.hologram import Holograms, Trap
from bridge.slm.registration import Registration
from engine.physics.plant import Plant

Array = NDArray[np.float64]


class LockStep:
    """Beads, light and a camera without noise; see the module."""

    def __init__(
        self, plant: Plant, registration: Registration, holograms: Holograms, *, pixel_um: float, dt_s: float,
        exposure_s: float = 0.0, delay: int = 0, full_stiffness: float = 2.0,
    ) -> None:  # fmt: skip
        """`full_stiffness`: pN/µm of a trap that has an equal share of all the light."""
        self.plant = plant
        self._registration, self._holograms = registration, holograms
        self._pixel_um, self._dt_s, self._exposure_s = pixel_um, dt_s, exposure_s
        self._full = full_stiffness
        self._late: deque[tuple[NDArray[np.float32], list[Trap]]] = deque(maxlen=delay + 1)
        self._shown: tuple[Array, Array] = (np.zeros((0, 2)), np.zeros(0))

    def show(self, phase: NDArray[np.float32], traps: Sequence[Trap]) -> None:
        """A command: it is in the light after `delay` more of them."""
        self._late.append((phase, list(traps)))
        if len(self._late) == self._late.maxlen:
            shown, its_traps = self._late[0]
            places = np.array([(trap.x, trap.y) for trap in its_traps]).reshape(-1, 2)
            share = np.array(self._holograms.quality(shown, its_traps).intensities) if its_traps else np.zeros(0)
            at_um = self._registration.pixels(places) * self._pixel_um if its_traps else places
            self._shown = at_um, self._full * len(its_traps) * share

    def frame(self) -> Array:
        """One frame later: the beads `(n, 2)` in pixels, as the camera sees them."""
        places, stiffness = self._shown
        seen = self.plant.frame(places, stiffness, self._dt_s, self._exposure_s)
        out: Array = seen / self._pixel_um
        return out
