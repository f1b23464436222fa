"""Beads in the light of a run, and the camera that sees them: `simulated?light=tcp://127.0.0.1:50054&registration=…`.

The other side of `slm.display = "tcp://…"`: it takes the holograms that the process of the light publishes, and beads
are in the traps that their phase really makes: each trap's intensity is read off its far field, its stiffness is in
proportion. Time is real. In a frame time the light changes `light_delay_ms` after a hologram was sent; between changes
a bead's motion is exact (`engine.physics.plant`); what comes during an exposure counts from its end on. So the picture
can be drawn while it is exposed, and is there at the end, which is the camera's time. Without a sign of life for
`WATCHDOG_S` it is dark.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from bridge.simulator import TRUTH, Above0, NotBelow0, Positions, Simulator
from bridge.slm.displays.publisher import WATCHDOG_S, Said
from bridge.slm.hologram import Holograms, Trap
from bridge.slm.kernels import project
from bridge.slm.registration import Registration
from bridge.sources.base import Shot
from bridge.sources.simulated import Camera, SimulatedCamera, read_options
from bridge.wire import Answer
from engine.clocks import NS, monotonic_ns
from engine.errors import SettingsError
from engine.frames import TimeSource
from engine.physics.bead import Bead
from engine.physics.plant import Plant

Array = NDArray[np.float64]


class LitScene(Camera, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A camera's scene with light in it."""

    light: str = ""  # where holograms are published
    registration: str = ""  # the true one: where the light of an order is
    stiffness_pN_um: Above0 = 4.0  # of a trap that has an equal share of all light
    reach_um: Above0 = 0.8
    exposure_ms: NotBelow0 = 5.0
    light_delay_ms: NotBelow0 = 0.0  # of the modulator itself, after the hologram has come


class Lamp:
    """The light that is on, as it was told. A context manager."""

    def __init__(self, scene: LitScene, registration: Registration) -> None:
        self._scene, self._registration = scene, registration
        self._coming: deque[tuple[int, Array, Array]] = deque()
        self._dark = np.zeros((0, 2)), np.zeros(0)
        self.now: tuple[Array, Array] = self._dark
        self._heard_ns = 0

    def __enter__(self) -> Lamp:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, 64)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.subscribe(b"")
        self._socket.connect(self._scene.light)
        shares(np.zeros((8, 8), np.uint8), np.zeros((1, 2)))  # compiled now, not while the light waits
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._context.term()

    def wait(self, until_ns: int) -> None:
        """Take what comes until that moment."""
        self._receive()
        while (left_ms := (until_ns - monotonic_ns()) / 1e6) > 0:
            if left_ms < 1:
                time.sleep(left_ms / 1e3)
            elif not self._socket.poll(min(20, math.floor(left_ms))):
                continue
            self._receive()

    def changes(self, until_ns: int) -> Iterator[tuple[int, Array, Array]]:
        """Each change of the light up to that moment: when, traps in µm, stiffness in pN/µm. Then `now` is the last."""
        if self._heard_ns and until_ns - self._heard_ns > WATCHDOG_S * NS and len(self.now[0]):
            self._coming.append((self._heard_ns + round(WATCHDOG_S * NS), *self._dark))
        while self._coming and self._coming[0][0] <= until_ns:
            at_ns, places, stiffness = self._coming.popleft()
            self.now = places, stiffness
            yield at_ns, places, stiffness

    def _receive(self) -> None:
        # Only the newest of the holograms that wait is worth its transform.
        newest: tuple[Said, bytes] | None = None
        with contextlib.suppress(zmq.Again):
            while True:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
                try:
                    said = msgspec.msgpack.decode(parts[0], type=Said)
                except msgspec.DecodeError:
                    continue
                self._heard_ns = monotonic_ns()
                if said.what == "show":
                    newest = said, parts[1] if len(parts) > 1 else b""
                elif said.what == "blank" or (said.what == "alive" and not said.showing and not newest):
                    newest = Said(what="blank", t_sent_ns=said.t_sent_ns), b""
        if newest is None or (newest[0].what == "blank" and not len(self.now[0]) and not self._coming):
            return
        at_ns = newest[0].t_sent_ns
        if not 0 <= self._heard_ns - at_ns < NS:
            at_ns = self._heard_ns  # of another clock
        self._coming.append((at_ns + round(self._scene.light_delay_ms * 1e6), *self._places(*newest)))

    def _places(self, said: Said, levels: bytes) -> tuple[Array, Array]:
        if said.what != "show" or not said.traps or len(levels) != said.shape[0] * said.shape[1]:
            return self._dark
        orders = np.array([(trap.x, trap.y) for trap in said.traps])
        share = shares(np.frombuffer(levels, np.uint8).reshape(said.shape), orders)
        at_um = self._registration.pixels(orders) * self._scene.pixel_um
        return at_um, np.maximum(self._scene.stiffness_pN_um * len(orders) * share, 1e-6)


def shares(levels: NDArray[np.uint8], orders: Array) -> Array:
    """Share of all light in each place `(n, 2)` of the far field of a hologram without lenses."""
    of_v, of_u = Holograms(levels.shape[1], levels.shape[0]).phasors([Trap(x=float(x), y=float(y)) for x, y in orders])
    out: Array = np.abs(project(levels, of_v, of_u) / levels.size) ** 2
    return out


class LitCamera(SimulatedCamera):
    """See the module."""

    def __init__(self, options: dict[str, Any]) -> None:
        scene = read_options(options, LitScene)
        if not scene.light.startswith("tcp://") or not Path(scene.registration).is_file():
            raise SettingsError("source: simulated: light=tcp://host:port goes with registration=FILE")
        self._options = options
        self.live, self.waits = True, False
        self.name = f"simulated camera in the light, seed {scene.seed}"
        self._registration = msgspec.json.decode(Path(scene.registration).read_bytes(), type=Registration)
        self.simulator = Simulator(scene)
        self.given = 0
        self._path: list[tuple[int, Positions]] = []

    def frames(self, welcome: Answer) -> Iterator[Shot | None]:
        """Frames at the scene's rate, in real time."""
        expected: dict[str, Any] = {"dtype": welcome.dtype} if welcome.dtype else {}
        if welcome.shape:
            expected |= {"height": str(welcome.shape[0]), "width": str(welcome.shape[1])}
        if welcome.fps:
            expected["fps"] = repr(welcome.fps)
        scene = read_options(expected | self._options, LitScene)
        self.simulator = Simulator(scene)
        start = max(0, welcome.resume - scene.first)
        plant = Plant(
            Bead(radius_um=scene.radius_um, temperature_K=scene.temperature_K, viscosity_mPas=scene.viscosity_mPas),
            next(self.simulator.positions()) * scene.pixel_um, seed=scene.seed, reach_um=scene.reach_um,
        )  # fmt: skip
        period_ns, exposure_ns = round(NS / scene.fps), min(round(scene.exposure_ms * 1e6), round(NS / scene.fps))
        began = monotonic_ns() - start * period_ns
        with Lamp(scene, self._registration) as lamp:
            for n in self._numbers(scene, start):
                end = began + (n + 1) * period_ns
                opens = end - exposure_ns
                while monotonic_ns() < opens - NS // 10:
                    lamp.wait(min(opens, monotonic_ns() + NS // 10))
                    yield None
                lamp.wait(opens)
                at = self._expose(plant, lamp, end - period_ns, end, exposure_ns) / scene.pixel_um
                image = self.simulator.render(at, n)
                self._path.append((n, at))
                self.given = n + 1
                extra = {"simulated": True, "traps": len(lamp.now[0])}
                if (left := end - monotonic_ns()) > 0:
                    time.sleep(left / NS)
                yield Shot(
                    image=image, counter=scene.first + n, t_ns=end, copy=False, extra=extra,
                    time_source=TimeSource.HARDWARE,
                )  # fmt: skip

    @staticmethod
    def _expose(plant: Plant, lamp: Lamp, since_ns: int, end_ns: int, exposure_ns: int) -> Array:
        """Beads as the camera sees them, after one frame time in the light as it came."""
        places, stiffness = lamp.now
        opens = end_ns - exposure_ns
        for at_ns, next_places, next_stiffness in lamp.changes(opens):
            at_ns = max(at_ns, since_ns)
            if at_ns > since_ns:
                plant.frame(places, stiffness, (at_ns - since_ns) / NS)
                since_ns = at_ns
            places, stiffness = next_places, next_stiffness
        return plant.frame(places, stiffness, (end_ns - since_ns) / NS, exposure_ns / NS)

    def save_truth(self, path: Path) -> None:
        """As `SimulatedCamera`, of what really was."""
        records = np.concatenate([_records(n, at) for n, at in self._path] or [np.zeros(0, TRUTH)])
        scene = np.array(msgspec.json.encode(self.simulator.scene).decode())
        np.savez_compressed(path, truth=records, scene=scene)


def _records(n: int, at: Positions) -> NDArray[np.void]:
    out = np.zeros(len(at), TRUTH)
    out["frame"], out["bead"] = n, np.arange(len(at))
    out["x"], out["y"] = at.T
    return out
