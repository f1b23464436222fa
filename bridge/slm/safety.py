"""What may be shown when: the states of the light, as a pure function of what is known and of the time.

    UNARMED ──arm──► SHOWING ──data older than hold_s──► HOLDING ──older than blank_s──► BLANK
       ▲                │  ▲──────────fresh data─────────────┘                              │
       └──disarm, display gone, restart─────────────────────────── (arm again) ─────────────┘

SHOWING: commands are shown. HOLDING: the last hologram stays, no command is. BLANK and UNARMED: no light in traps; only
a person's `arm` leads out. In shadow mode everything is computed and nothing is ever shown.
"""

from __future__ import annotations

from enum import Enum

import msgspec


class Light(Enum):
    UNARMED = "unarmed"
    SHOWING = "showing"
    HOLDING = "holding"
    BLANK = "blank"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """When the light leaves the state it is in."""

    hold_s: float = 0.1  # data older than this: hold
    blank_s: float = 1.0  # older than this: blank
    shadow: bool = False
    greatest_power: float = 0.0  # sum of the traps' intensities; 0: no limit


class Safety:
    """The state, and why it is what it is."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.state = Light.UNARMED
        self.why = "nobody armed it yet"
        self._fresh_s = float("-inf")

    def arm(self, now_s: float) -> None:
        """A person wants light. The data have to be fresh from now on."""
        self.state, self.why, self._fresh_s = Light.SHOWING, "armed", now_s

    def disarm(self, why: str = "disarmed") -> None:
        self.state, self.why = Light.UNARMED, why

    def display_gone(self, why: str) -> None:
        """Nobody knows what is on it: armed again by a person alone."""
        self.disarm(f"display: {why}")

    def data(self, taken_s: float, now_s: float) -> None:
        """A frame that was taken at `taken_s` has been tracked."""
        self._fresh_s = max(self._fresh_s, taken_s)
        self.look(now_s)

    def look(self, now_s: float) -> Light:
        """The state at this moment; call it at least every few hundredths of a second."""
        if self.state in (Light.SHOWING, Light.HOLDING):
            age = now_s - self._fresh_s
            if age > self._limits.blank_s:
                self.state, self.why = Light.BLANK, f"no data for {age:.2f} s"
            elif age > self._limits.hold_s:
                self.state, self.why = Light.HOLDING, f"no data for {age:.2f} s"
            elif self.state is Light.HOLDING:
                self.state, self.why = Light.SHOWING, "data are fresh again"
        return self.state

    def may_show(self, power: float) -> str:
        """Why a command of so much power must not be shown; "" if it may."""
        if self._limits.shadow:
            return "shadow mode"
        if self.state is not Light.SHOWING:
            return f"{self.state.value}: {self.why}"
        if self._limits.greatest_power and power > self._limits.greatest_power * (1 + 1e-9):
            return f"power {power:g} is above the limit of {self._limits.greatest_power:g}"
        return ""
