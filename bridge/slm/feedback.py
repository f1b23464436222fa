"""Feedback of one trap: where its light goes, from where its particle was seen. Gains that oscillate are refused."""

from __future__ import annotations

import math
from enum import Enum

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import SettingsError
from engine.physics.loop import largest_stable_gain, spectral_radius

Array = NDArray[np.float64]
MARGIN = 0.8
"""Of the gain at which the loop begins to oscillate, so much is allowed."""


class Mode(Enum):
    OFF = "off"  # the light stays at its target
    REPOSITION = "reposition"  # slowly, against drift: a small part of the mean error of many frames
    P = "p"
    PI = "pi"


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the feedback; lengths in the unit of positions."""

    mode: Mode = Mode.OFF
    gain: float = 0.0
    integral: float = 0.0  # a frame
    greatest_step: float = 1.0  # of the light, from frame to frame
    frames: int = 100  # of REPOSITION: over how many the error is averaged


def check_gain(feedback: Feedback, dt_over_tau: float, delay: int) -> None:
    """Raises SettingsError, naming the limit, if the loop would be unstable or close to it.

    `dt_over_tau` from the measured stiffness and frame rate, `delay` the measured latency in whole frames.
    """
    if feedback.mode in (Mode.OFF, Mode.REPOSITION):
        return
    limit = MARGIN * largest_stable_gain(dt_over_tau, delay)
    gain = feedback.gain + (feedback.integral if feedback.mode is Mode.PI else 0.0)
    if gain > limit:
        radius = spectral_radius(gain, dt_over_tau, delay)
        word = "unstable" if radius >= 1 else "close to oscillating"
        raise SettingsError(
            f"slm.gain: {gain:g} is {word} at {dt_over_tau:.3g} relaxation times a frame and {delay} frames of delay; "
            f"it must be at most {limit:.3g}"
        )


class Controller:
    """One trap's feedback: target `(2,)` and sight `(2,)` in, place of the light out."""

    def __init__(self, feedback: Feedback, target: Array) -> None:
        self._feedback = feedback
        self.target = np.array(target, float)
        self.light = self.target.copy()
        self._sum = np.zeros_like(self.target)
        self._seen = 0

    def step(self, seen: Array | None) -> Array:
        """Where the light goes now. None: the particle was not seen, and the light does not move (frozen)."""
        f = self._feedback
        if seen is None:
            return self.light.copy()
        error = seen - self.target
        if f.mode is Mode.OFF:
            wanted = self.target
        elif f.mode is Mode.REPOSITION:
            self._sum, self._seen = self._sum + error, self._seen + 1
            if self._seen < f.frames:
                return self.light.copy()
            wanted = self.light - f.gain * self._sum / self._seen
            self._sum, self._seen = np.zeros_like(self._sum), 0
        else:
            if f.mode is Mode.PI:
                # What cannot be acted on is not summed up: the integral stays within the largest step.
                self._sum = np.clip(self._sum + f.integral * error, -f.greatest_step, f.greatest_step)
            wanted = self.target - f.gain * error - self._sum
        return self._towards(wanted)

    def go_to_target(self) -> Array:
        """Without looking at the particle: the light goes to its target, no faster than allowed."""
        return self._towards(self.target)

    def _towards(self, wanted: Array) -> Array:
        move = wanted - self.light
        length = math.hypot(*move)
        most = self._feedback.greatest_step
        self.light = self.light + (move if length <= most else move * (most / length))
        return self.light.copy()
