"""The light of a run, without a process, a clock or a display: frames and wishes in, commands out.

For each frame: whose particle is where, traps step along their ways, feedback, safety. All lengths are pixels of the
camera. A way goes on by one place a frame at most, and waits while a particle on it is not held, or lags behind.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.slm.assignment import assign
from bridge.slm.feedback import Controller, Feedback, Mode, check_gain
from bridge.slm.holding import Command, HeldTrap, Hold, Seen, Way
from bridge.slm.hologram import Trap
from bridge.slm.registration import Registration
from bridge.slm.rules import Rules, limited_to
from bridge.slm.safety import Light, Safety
from bridge.slm.trajectory import assemble, check, rotation, steps
from engine.clocks import NS
from engine.errors import SettingsError

Array = NDArray[np.float64]
MOST_TRAPS = 400
LAG = 0.6
"""Of a trap's reach: so far may a bead be from its light while it is carried."""


class Conductor:
    """See the module. `now_s` is any clock that the frames' camera times are on, in seconds."""

    def __init__(self, rules: Rules, registration: Registration) -> None:
        self.rules = limited_to(rules, rules.feedback)
        self.registration = registration
        self.safety = Safety(rules.limits)
        self.traps: dict[int, HeldTrap] = {}
        self.ways: list[Way] = []
        # A particle that is seen farther away than this has left its trap.
        self._reach = max(rules.reach, rules.farthest) + rules.greatest_step
        self.seen: Seen | None = None
        self.commands = 0
        self.lost = 0
        self._next = 0
        self._before: list[Trap] | None = None

    # ---- frames and time

    def frame(self, seen: Seen, now_s: float) -> Command:
        """Act on a frame."""
        if self.seen is not None and seen.sequence != self.seen.sequence:
            self._freeze_all()  # numbers of particles mean nothing any more
        self.seen = seen
        self.safety.data(seen.t_camera_ns / NS, now_s)
        places = dict(zip(seen.ids.tolist(), seen.at))
        self._take(seen)
        for trap in self.traps.values():
            trap.seen = places.get(trap.particle) if trap.particle >= 0 else None
            here = trap.seen is not None and math.hypot(*(trap.seen - trap.light)) <= self._reach
            if trap.hold is Hold.HELD and not here:
                trap.hold, self.lost = Hold.FROZEN, self.lost + 1
            elif trap.hold is Hold.FROZEN and here:
                trap.hold = Hold.HELD
        if self.safety.state is Light.SHOWING or self.rules.limits.shadow:
            self._go()
            for trap in self.traps.values():
                self._steer(trap)
        return self._command(seen)

    def look(self, now_s: float) -> Light:
        """Time passes; the state of the light."""
        return self.safety.look(now_s)

    def as_shown(self, traps: list[Trap] | None) -> None:
        """What the display shows now: None: nothing of ours, or nobody knows."""
        self._before = traps

    @property
    def shown(self) -> bool:
        """Whether the display shows something of ours."""
        return self._before is not None

    def _take(self, seen: Seen) -> None:
        """Let traps that want a particle have the one that is theirs by the assignment."""
        wanting = [trap for trap in self.traps.values() if trap.hold is Hold.WANTED]
        if not wanting:
            return
        taken = {trap.particle for trap in self.traps.values() if trap.hold is not Hold.WANTED}
        free = np.array([i for i, one in enumerate(seen.ids.tolist()) if one not in taken], np.int64)
        kept = {i: trap.particle for i, trap in enumerate(wanting) if trap.particle >= 0}
        pairs = assign(
            np.array([trap.light for trap in wanting]), seen.at[free], seen.ids[free], farthest=self.rules.farthest,
            kept=kept, hysteresis=self.rules.farthest / 4,
        )  # fmt: skip
        for i, trap in enumerate(wanting):
            particle = pairs.get(i, -1)
            trap.near = trap.near + 1 if particle >= 0 and particle == trap.particle else 1
            trap.particle = particle
            if particle >= 0 and trap.near >= self.rules.settle_frames:
                trap.hold = Hold.HELD

    def _go(self) -> None:
        for way in self.ways:
            way.waits = self._obstacle(way)
            if way.waits:
                continue
            for number, place in zip(way.numbers, way.places[way.done]):
                self.traps[number].control.target = place.copy()
            way.done += 1
        self.ways = [way for way in self.ways if not way.over]

    def _obstacle(self, way: Way) -> str:
        for number in way.numbers:
            trap = self.traps[number]
            if trap.hold is Hold.FROZEN:
                return f"trap {number} lost its particle"
            if trap.seen is not None and self.rules.reach:
                lag = float(np.linalg.norm(trap.seen - trap.light))
                if lag > LAG * self.rules.reach:
                    return f"the particle of trap {number} lags {lag:.1f} px behind"
        return ""

    def _steer(self, trap: HeldTrap) -> None:
        if trap.hold is Hold.FROZEN:
            return
        if self._moves(trap.number) or trap.hold is Hold.WANTED:
            # On its way a trap is where it shall be: what it carries lags behind by the drag, which is no error.
            trap.control.go_to_target()
        else:
            trap.control.step(trap.seen)

    def _command(self, seen: Seen) -> Command:
        self.commands += 1
        held = [self.traps[number] for number in sorted(self.traps)]
        traps: list[Trap] = []
        if held:
            orders = self.registration.orders(np.array([trap.light for trap in held]))
            sx, sy, sz = self.rules.shift
            traps = [
                Trap(x=float(x) + sx, y=float(y) + sy, z=trap.z + sz, intensity=trap.intensity)
                for trap, (x, y) in zip(held, orders)
            ]
        refusal = self.safety.may_show(sum(trap.intensity for trap in held))
        return Command(
            number=self.commands, frame=seen.frame, t_camera_ns=seen.t_camera_ns, held=held, traps=traps,
            refusal=refusal, changed=traps != self._before,
        )  # fmt: skip

    def _freeze_all(self) -> None:
        for trap in self.traps.values():
            if trap.hold is Hold.HELD:
                trap.hold, trap.particle = Hold.FROZEN, -1
        self.ways.clear()

    # ---- what people want; each raises SettingsError and then changes nothing

    def trap(
        self, x: float | None = None, y: float | None = None, *, particle: int | None = None, trap: int | None = None,
        z: float = 0.0, intensity: float = 1.0,
    ) -> dict[str, Any]:  # fmt: skip
        """A trap at a place, or at a particle; or other z and intensity for one that there is."""
        if not intensity >= 0:  # it would make room for more power in others; NaN, too, is not
            raise SettingsError(f"slm trap: intensity = {intensity:g} is not allowed; it must be at least 0")
        if trap is not None and trap in self.traps:
            one = self.traps[trap]
            self._power(intensity - one.intensity)
            one.z, one.intensity = z, intensity
            return one.as_dict()
        if particle is not None:
            x, y = self._place_of(particle)
        if x is None or y is None:
            raise SettingsError("slm trap: a place (x and y, pixels) or a particle is needed")
        at = self._place(x, y)
        number = self._next if trap is None else trap
        if len(self.traps) >= MOST_TRAPS:
            raise SettingsError(f"slm trap: {MOST_TRAPS} traps are the most")
        self._power(intensity)
        self._room(at)
        if particle is not None and any(held.particle == particle for held in self.traps.values()):
            raise SettingsError(f"slm trap: particle {particle} is in a trap already")
        made = HeldTrap(number, Controller(self.rules.feedback, at), intensity, z)
        if particle is not None:
            made.particle, made.hold, made.near = particle, Hold.HELD, self.rules.settle_frames
        self.traps[number] = made
        self._next = max(self._next, number) + 1
        return made.as_dict()

    def catch(self, most: int = MOST_TRAPS, intensity: float = 1.0) -> dict[str, Any]:
        """A trap for every particle that is seen and free, where there is room; or new particles for frozen traps."""
        seen = self._newest()
        made: list[int] = []
        taken = {trap.particle for trap in self.traps.values() if trap.hold is Hold.HELD}
        for trap in self.traps.values():
            if trap.hold is Hold.FROZEN:
                trap.hold, trap.near, trap.particle = Hold.WANTED, 0, -1
        for particle, at in zip(seen.ids.tolist(), seen.at):
            if len(made) >= most or len(self.traps) >= MOST_TRAPS:
                break
            if particle in taken or self._closest(at) < max(self.rules.clearance, self.rules.farthest):
                continue
            made.append(self.trap(float(at[0]), float(at[1]), intensity=intensity)["trap"])
        return {"traps": made}

    def move(self, to: dict[str, tuple[float, float]], step: float = 0.0) -> dict[str, Any]:
        """Traps by number to places, straight and together, `step` pixels a frame at most."""
        numbers = self._existing([int(number) for number in to])
        goals = np.array([self._place(*to[str(number)]) for number in numbers])
        starts = np.array([self.traps[number].target for number in numbers])
        self._free_way(numbers, starts, goals)
        return self._way(numbers, steps(starts, goals, self._step(step)))

    def rotate(
        self, angle_deg: float, traps: list[int] | None = None, centre: tuple[float, float] | None = None,
        step: float = 0.0,
    ) -> dict[str, Any]:  # fmt: skip
        """Traps (all of them) about a centre (their own middle)."""
        numbers = self._existing(list(self.traps) if traps is None else traps)
        starts = np.array([self.traps[number].target for number in numbers])
        about = starts.mean(0) if centre is None else np.array(centre, float)
        places = rotation(starts, about, math.radians(angle_deg), self._step(step))
        others = [trap.target for trap in self.traps.values() if trap.number not in numbers]
        for other in others:
            if np.linalg.norm(places - other, axis=2).min() < self.rules.clearance:
                raise SettingsError("slm rotate: a trap that stays is in the way")
        return self._way(numbers, places)

    def assemble(
        self, pattern: list[tuple[float, float]], step: float = 0.0, traps: list[int] | None = None
    ) -> dict[str, Any]:
        """Traps that hold a particle to the places of a pattern; which goes where is chosen. The rest stays."""
        held = [number for number, trap in self.traps.items() if trap.hold is Hold.HELD and not self._moves(number)]
        numbers = held if traps is None else self._existing(traps)
        if not pattern:
            raise SettingsError("slm assemble: a pattern without places")
        starts = np.array([self.traps[number].target for number in numbers]).reshape(-1, 2)
        goals = np.array([self._place(x, y) for x, y in pattern])
        chosen, places = assemble(starts, goals, self.rules.clearance, self._step(step))
        moved = [numbers[i] for i in chosen.tolist()]
        self._free_way(moved, starts[chosen], goals)
        return self._way(moved, places)

    def release(self, traps: list[int] | None = None) -> dict[str, Any]:
        """No light for these (all) any more."""
        numbers = self._existing(list(self.traps) if traps is None else traps) if self.traps else []
        self.ways = [way for way in self.ways if not set(way.numbers) & set(numbers)]
        for number in numbers:
            del self.traps[number]
        return {"traps": numbers}

    def halt(self) -> dict[str, Any]:
        """All traps stay where they are."""
        self.ways.clear()
        for trap in self.traps.values():
            trap.control.target = trap.light.copy()
        return {}

    def feed(self, feedback: Feedback, delay: int) -> dict[str, Any]:
        """Another feedback for all traps, checked against the measured delay in frames."""
        if feedback.mode in (Mode.P, Mode.PI) and not self.rules.dt_over_tau:
            raise SettingsError("slm.stiffness_pN_um is not known: no gain can be called safe")
        delay = max(delay, self.rules.delay)
        check_gain(feedback, self.rules.dt_over_tau, delay)
        self.rules = limited_to(self.rules, feedback)
        for trap in self.traps.values():
            light = trap.light
            trap.control = Controller(self.rules.feedback, trap.target)
            trap.control.light = light
        return {"feedback": feedback.mode.value, "gain": feedback.gain, "delay_frames": delay}

    def arm(self, now_s: float) -> dict[str, Any]:
        """Light from now on. Refused without fresh data."""
        seen = self._newest()
        age_s = now_s - seen.t_camera_ns / NS
        if age_s > self.rules.limits.hold_s:
            raise SettingsError(
                f"slm arm: the newest frame is {age_s:.2f} s old; slm.hold_s is {self.rules.limits.hold_s:g}"
            )
        self.safety.arm(now_s)
        return {"state": self.safety.state.value}

    def state(self) -> dict[str, Any]:
        """All of it, for clients."""
        return {
            "state": self.safety.state.value, "why": self.safety.why, "shadow": self.rules.limits.shadow,
            "traps": [self.traps[number].as_dict() for number in sorted(self.traps)],
            "moving": [{"traps": way.numbers, "left": len(way.places) - way.done, "waits": way.waits}
                       for way in self.ways],
            "commands": self.commands, "lost": self.lost,
            "frame": -1 if self.seen is None else self.seen.frame,
            "feedback": self.rules.feedback.mode.value, "gain": self.rules.feedback.gain,
        }  # fmt: skip

    # ---- helpers

    def _newest(self) -> Seen:
        if self.seen is None:
            raise SettingsError("slm: there is no frame yet")
        return self.seen

    def _place_of(self, particle: int) -> tuple[float, float]:
        seen = self._newest()
        index = np.flatnonzero(seen.ids == particle)
        if not len(index):
            raise SettingsError(f"slm: particle {particle} is not in the newest frame")
        x, y = seen.at[index[0]]
        return float(x), float(y)

    def _existing(self, numbers: list[int]) -> list[int]:
        unknown = [number for number in numbers if number not in self.traps]
        if unknown or not numbers:
            raise SettingsError(f"slm: there is no trap {', '.join(map(str, unknown)) or 'at all'}")
        return numbers

    def _moves(self, number: int) -> bool:
        return any(number in way.numbers for way in self.ways)

    def _power(self, more: float) -> None:
        limit = self.rules.limits.greatest_power
        power = sum(trap.intensity for trap in self.traps.values()) + more
        if limit and power > limit * (1 + 1e-9):
            raise SettingsError(f"slm: power {power:g} would be above slm.greatest_power = {limit:g}")

    def _closest(self, at: Array) -> float:
        targets = [trap.target for trap in self.traps.values()]
        return float(np.linalg.norm(np.array(targets) - at, axis=1).min()) if targets else math.inf

    def _room(self, at: Array) -> None:
        if (distance := self._closest(at)) < self.rules.clearance:
            raise SettingsError(
                f"slm: a trap is {distance:.1f} px from there; slm.clearance is {self.rules.clearance:g}"
            )

    def _free_way(self, numbers: list[int], starts: Array, goals: Array) -> None:
        busy = [number for number in numbers if self._moves(number)]
        if busy:
            raise SettingsError(f"slm: trap {busy[0]} is on its way; halt it first")
        others = [trap for trap in self.traps.values() if trap.number not in numbers]
        goal_of = {number: way.places[-1][i] for way in self.ways for i, number in enumerate(way.numbers)}
        still = np.array([trap.target for trap in others]).reshape(-1, 2)
        ends = np.array([goal_of.get(trap.number, trap.target) for trap in others]).reshape(-1, 2)
        check(np.vstack([starts, still]), np.vstack([goals, ends]), self.rules.clearance)

    def _way(self, numbers: list[int], places: Array) -> dict[str, Any]:
        self._inside(places)
        self.ways.append(Way(numbers, places))
        return {"traps": numbers, "frames": len(places)}

    def _step(self, wanted: float) -> float:
        """Pixels a frame: what is asked for, never faster than the beads can follow."""
        limit = min(self.rules.greatest_step, self.rules.speed)
        return min(wanted, limit) if wanted > 0 else limit

    def _place(self, x: float, y: float) -> Array:
        if not (math.isfinite(x) and math.isfinite(y)):
            raise SettingsError(f"slm: ({x}, {y}) is no place")
        at = np.array([x, y], float)
        self._inside(at)
        return at

    def _inside(self, places: Array) -> None:
        """Refuse places `(…, 2)` outside the picture: nobody would see what is there."""
        size = np.array(self.rules.picture)
        outside = ((places < -0.5) | (places > size - 0.5)).any(-1)
        if size.all() and outside.any():
            x, y = places[outside][0]
            raise SettingsError(f"slm: ({x:g}, {y:g}) is outside the picture, which is {size[0]} x {size[1]} pixels")
