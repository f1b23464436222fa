"""Channel groups: which particle is in which channels of a stream whose width never changes.

A *group* is the set of channels of one particle. A particle keeps its group for its life. One that is absent for more
than `memory` frames is lost; its group *rests* for `rest` frames, so that nobody takes the next particle in it for the
old one. *Reserved* groups (the first ones) are for chosen particles alone. *Overflow* is a particle without a group.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple


class Change(NamedTuple):
    """What became of a particle: kind "given" (it has a group from now on) or "lost" (it has none any more)."""

    kind: str
    particle: int
    group: int


class ChannelGroups:
    """Gives groups to particles, frame by frame; a pure function of what it was told."""

    def __init__(self, groups: int, *, memory: int = 0, rest: int = 10, reserved: int = 0) -> None:
        """`groups` in all, the first `reserved` of them for chosen particles. Raises ValueError."""
        if not 0 <= reserved <= groups or groups < 1 or memory < 0 or rest < 0:
            raise ValueError(f"{groups} groups, {reserved} reserved, memory {memory}, rest {rest}")
        self.groups = groups
        self.reserved = reserved
        self._memory = memory
        self._rest = rest
        self._group_of: dict[int, int] = {}
        self._seen: dict[int, int] = {}  # particle with a group: the frame it was last seen in
        self._free = list(range(reserved, groups))  # a heap: the lowest goes first
        self._resting: list[tuple[int, int]] = []  # (frame from which it may be given, group), in that order
        self._chosen: dict[int, int] = {}  # particle: its reserved group

    def choose(self, particle: int, group: int) -> None:
        """Keep a reserved group for this particle, from the next frame on; whoever was chosen for it is not any more.

        Raises ValueError if the group is none of the reserved ones.
        """
        if not 0 <= group < self.reserved:
            raise ValueError(f"group {group}: the reserved ones are 0 to {self.reserved - 1}")
        self._chosen = {p: g for p, g in self._chosen.items() if g != group and p != particle}
        self._chosen[particle] = group

    def group_of(self, particle: int) -> int:
        """Its group, -1 if it has none."""
        return self._group_of.get(particle, -1)

    def assign(self, particles: Iterable[int], frame: int) -> tuple[list[int], list[Change]]:
        """The group of each particle of a frame (-1: overflow), in their order, and what changed.

        Frame numbers must grow; what lies between two of them counts as absence.
        """
        present = list(particles)
        changes = self._forget(frame, set(present))
        while self._resting and self._resting[0][0] <= frame:
            heapq.heappush(self._free, self._resting.pop(0)[1])
        for particle in present:
            if particle in self._chosen:
                changes += self._give_chosen(particle, frame)
            if particle in self._group_of:
                self._seen[particle] = frame
            elif self._free:
                changes.append(self._give(particle, heapq.heappop(self._free), frame))
        return [self._group_of.get(particle, -1) for particle in present], changes

    def clear(self, frame: int) -> list[Change]:
        """All particles are lost: identities start afresh."""
        self._chosen.clear()
        return [self._take(particle, frame) for particle in list(self._group_of)]

    def _forget(self, frame: int, present: set[int]) -> list[Change]:
        gone = [p for p, seen in self._seen.items() if p not in present and frame - seen > self._memory]
        changes = [self._take(particle, frame) for particle in gone]
        for change in changes:
            self._chosen.pop(change.particle, None)
        return changes

    def _give_chosen(self, particle: int, frame: int) -> list[Change]:
        group, changes = self._chosen[particle], []
        if self._group_of.get(particle) == group:
            return []
        changes += [self._take(other, frame) for other, g in list(self._group_of.items()) if g == group]
        if particle in self._group_of:
            changes.append(self._take(particle, frame))
        return [*changes, self._give(particle, group, frame)]

    def _give(self, particle: int, group: int, frame: int) -> Change:
        self._group_of[particle] = group
        self._seen[particle] = frame
        return Change("given", particle, group)

    def _take(self, particle: int, frame: int) -> Change:
        group = self._group_of.pop(particle)
        del self._seen[particle]
        if group >= self.reserved:
            self._resting.append((frame + self._rest, group))
        return Change("lost", particle, group)
