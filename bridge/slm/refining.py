"""Evenness in the background: weighted Gerchberg-Saxton in a thread of low priority, for the traps as they are.

What it finds (weights, phases) is taken over between two commands. It works on its own `Holograms`, and only for traps
that have stood still since it last finished: on the way, superposition with the weights of before is good enough.
"""

from __future__ import annotations

import contextlib
import os
import threading

import numpy as np
from numpy.typing import NDArray

from bridge.slm.hologram import Holograms, Trap

ITERATIONS = 3
ROUNDS = 5
"""So often for the same traps: then they are even to better than what the modulator itself does."""

Array = NDArray[np.float64]


class Refiner:
    """A context manager; `step` is called for every command."""

    def __init__(self, holograms: Holograms) -> None:
        self._live = holograms
        self._own = Holograms(holograms.width, holograms.height)
        self._wake, self._stop = threading.Event(), False
        self._wanted: list[Trap] | None = None
        self._found: tuple[list[Trap], Array, Array] | None = None
        self._last: list[Trap] = []
        self._rounds = 0

    def __enter__(self) -> Refiner:
        self._thread = threading.Thread(target=self._work, name="even traps", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._wake.set()
        self._thread.join()

    def step(self, traps: list[Trap]) -> bool:
        """Take over what was found for these traps, and ask for more; whether the hologram is another one now."""
        changed = False
        found, self._found = self._found, None
        if found is not None and found[0] == traps:
            self._live.adopt(found[1], found[2])
            changed = True
        if traps != self._last:
            self._last, self._rounds = list(traps), 0
        elif len(traps) > 1 and self._rounds < ROUNDS and not self._wake.is_set():
            self._rounds += 1
            self._own.adopt(*self._live.kept(len(traps)))
            self._wanted = list(traps)
            self._wake.set()
        return changed

    def _work(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # on Linux, of this thread alone
        while True:
            self._wake.wait()
            if self._stop:
                return
            wanted = self._wanted
            if wanted is not None:
                self._own.weighted(wanted, ITERATIONS)
                self._found = (wanted, *self._own.kept(len(wanted)))
            self._wake.clear()
