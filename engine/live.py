"""Settings while a run goes on: each change is a version, and every frame says which one it was tracked with.

Version 1 is the settings that the run was started with. The control server alone publishes further ones; the receiver
stamps the newest onto each frame as it publishes it, and every step of that frame looks its settings up here. What may
change is what changes no memory: [linking], [tracking] without tiles, workers and cores, a background that moves, and
whether anything is recorded.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.experiment import Experiment, Linking, Tracking
from engine.rings import Rings
from engine.shm.versions import VersionGoneError

FIXED = frozenset(f"tracking.{key}" for key in ("tile_width", "tile_height", "tile_overlap", "workers", "cores"))
LIVE_KEYS = tuple(
    f"{section}.{field.name}"
    for section, kind in (("tracking", Tracking), ("linking", Linking))
    for field in msgspec.structs.fields(kind)
    if f"{section}.{field.name}" not in FIXED
)
"""What may be changed while a run goes on."""


class Recording(msgspec.Struct, frozen=True):
    """Whether frames are recorded, and as which take. A take goes on over pauses."""

    on: bool = True
    paused: bool = False  # off, and to be resumed
    take: int = 1  # counted from 1; 0: there was none yet
    name: str = ""
    before_s: float = 0.0  # frames that were received so long before the first one are of the take too
    since_ns: int = 0  # CLOCK_MONOTONIC when this was asked for; 0: the start of the run
    until_ns: int = 0  # when it ends by itself; 0: never
    left_ns: int = 0  # while it is paused: so much of that time was left; 0: it had no end
    why: str = ""  # who or what asked for it
    crops: str | None = None  # of which particles crops are kept; None: as record.crop_particles says
    without: tuple[str, ...] = ()  # processes ("csv", "lsl") that are switched off, whatever else goes on

    @property
    def state(self) -> str:
        """ "on", "paused" or "off"."""
        return "on" if self.on else "paused" if self.paused else "off"


class Version(msgspec.Struct, frozen=True):
    """One version of the settings that may change."""

    tracking: Tracking
    linking: Linking
    undo_to: int = 0  # the version that Undo brings back; 0: there is none
    recording: Recording = Recording()
    background: str = ""  # path of the one that is subtracted since this version; empty: that of the settings file


class LiveSettings:
    """The settings of a run by version. One for each process; what was read once is kept."""

    def __init__(self, rings: Rings) -> None:
        self._first = rings.plan.experiment
        self._versions = rings.versions
        self._known: dict[int, Version] = {}

    @property
    def newest(self) -> int:
        """The version that the next frame will be stamped with."""
        return self._versions.newest

    def version(self, number: int) -> Version:
        """One version. Raises `engine.shm.versions.VersionGoneError`."""
        if number <= 1:
            on = self._first.record.on
            return Version(self._first.tracking, self._first.linking, recording=Recording(on=on, take=int(on)))
        if number not in self._known:
            if len(self._known) >= 64:
                self._known.clear()
            self._known[number] = msgspec.json.decode(self._versions.text(number), type=Version)
        return self._known[number]

    def recording(self, number: int) -> Recording:
        """What is recorded under this version; all, if nobody can say any more."""
        try:
            return self.version(number).recording
        except VersionGoneError:
            return Recording()

    def experiment(self, number: int) -> Experiment:
        """The whole experiment as it is under this version."""
        version, correction = self.version(number), self._first.correction
        if version.background:
            correction = msgspec.structs.replace(correction, background=version.background)
        return msgspec.structs.replace(
            self._first, tracking=version.tracking, linking=version.linking, correction=correction
        )

    def publish(self, version: Version) -> int:
        """Put a version into force, from the next frame on; its number (the control server alone)."""
        return self._versions.publish(msgspec.json.encode(version))

    def as_dict(self, number: int) -> dict[str, Any]:
        """What a version says, for people and files: {"version": 2, "tracking": {...}, "linking": {...}}."""
        version = self.version(number)
        sections = {name: msgspec.to_builtins(getattr(version, name)) for name in ("tracking", "linking")}
        found = {"version": number, **sections, "recording": msgspec.to_builtins(version.recording)}
        return found | ({"background": version.background} if version.background else {})
