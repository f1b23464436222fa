"""What a display is: it takes a hologram as traps and as levels, can be dark, and says when it is gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from bridge.slm.hologram import Trap
from bridge.slm.levels import Levels


class DisplayError(Exception):
    """Nobody knows what is on the display any more."""

    def __init__(self, why: str, t_there_ns: int | None = None) -> None:
        """`t_there_ns`: our clock when the display was last known to be there; None: it cannot tell."""
        super().__init__(why)
        self.t_there_ns = t_there_ns


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """One command: what the display is given."""

    traps: Sequence[Trap]
    levels: Levels | None  # (height, width), after map and look-up table; None where the display wants traps alone
    frame: int = -1  # that caused it
    t_camera_ns: int = 0
    command: int = 0


class Display(Protocol):
    """Somewhere to show holograms. Used by one thread."""

    wants_levels: bool  # False: it computes its own hologram, and ours is not computed

    def open(self) -> None:
        """Take hold of it. Raises DisplayError if it is not there."""

    def show(self, picture: Picture) -> None:
        """Show it; when this returns it has left this program. Raises DisplayError."""

    def blank(self) -> None:
        """No light in traps any more. Raises DisplayError."""

    def look(self) -> None:
        """Say that we live, and whether it does; called every few hundredths of a second. Raises DisplayError."""

    def close(self) -> None:
        """Dark, and let go of it; never raises."""


class Simulated:
    """Keeps what it was given."""

    wants_levels = True

    def __init__(self) -> None:
        self.shown: list[Picture] = []
        self.dark = True
        self.why_gone = ""

    def open(self) -> None:
        self._here()

    def show(self, picture: Picture) -> None:
        self._here()
        self.shown = [*self.shown[-99:], picture]
        self.dark = False

    def blank(self) -> None:
        self._here()
        self.dark = True

    def look(self) -> None:
        self._here()

    def close(self) -> None:
        self.dark = True

    def _here(self) -> None:
        if self.why_gone:
            raise DisplayError(self.why_gone)
