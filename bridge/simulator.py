"""Simulated camera: beads that diffuse in a viscous fluid, as a camera sees them, with the truth kept.

A bead of radius a diffuses with D = kB T / (6 pi eta a) (Stokes-Einstein); in a frame time dt each coordinate moves by
a Gaussian step of variance 2 D dt. It is seen as a Gaussian spot on a background; every pixel is Poisson distributed.

The background's noise is drawn once, for an area larger than the frame, and each frame shows another part of it: drawn
anew it would cost more than tracking does. Large frames are rendered beforehand, `loop` of them, and are shown forth
and back, so that the motion has no jumps; `extra` of each frame says so, and the truth knows which one it was.

Same settings, same seed: the same pixels and the same truth, on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from bridge.pictures import Pixels

BOLTZMANN = 1.380649e-23  # J/K
LARGE = 600_000  # pixels; frames above are rendered beforehand
LOOP = 32
TRUTH = np.dtype([("frame", "<i8"), ("bead", "<i8"), ("x", "<f8"), ("y", "<f8")])
Side = Annotated[int, msgspec.Meta(ge=1, le=32768)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Above0 = Annotated[float, msgspec.Meta(gt=0)]
NotBelow0 = Annotated[float, msgspec.Meta(ge=0)]
FromMinus1 = Annotated[int, msgspec.Meta(ge=-1)]
Positions = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


class Scene(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is simulated. Every field is also an option of the source string `simulated?width=512&beads=100`."""

    width: Side = 512
    height: Side = 512
    dtype: str = "uint16"
    beads: Count = 100
    fps: Above0 = 100.0
    seed: Count = 0
    radius_um: Above0 = 0.5
    temperature_K: Above0 = 298.15
    viscosity_mPas: Above0 = 0.89  # water at 25 degrees
    pixel_um: Above0 = 0.1
    sigma_px: Above0 = 2.5  # of a spot
    signal: NotBelow0 = 600.0  # mean counts at a spot's centre, above the background
    background: NotBelow0 = 100.0
    noise: bool = True
    margin_px: NotBelow0 = 12.0  # beads are turned back so far from the edge
    distance_px: NotBelow0 = 24.0  # between two beads at the start, where there is room
    periodic: bool = False  # beads that leave come in at the other side, instead of being turned back
    loop: FromMinus1 = -1  # frames rendered beforehand; 0: each is rendered fresh; -1: LOOP for large frames, else 0

    @property
    def diffusion_um2_s(self) -> float:
        """D of one bead."""
        thermal = BOLTZMANN * self.temperature_K
        return thermal / (6 * math.pi * self.viscosity_mPas * 1e-3 * self.radius_um * 1e-6) * 1e12

    @property
    def step_px(self) -> float:
        """Standard deviation of a coordinate's step from frame to frame."""
        return math.sqrt(2 * self.diffusion_um2_s / self.fps) / self.pixel_um

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def loop_frames(self) -> int:
        return self.loop if self.loop >= 0 else LOOP if self.width * self.height > LARGE else 0


class Simulator:
    """Frames of a scene, in order; constructing it starts nothing."""

    def __init__(self, scene: Scene | None = None, **options: Any) -> None:
        """A scene, or its fields as keywords."""
        self.scene = scene or Scene(**options)
        self._noise: Pixels | None = None
        self._loop: list[Pixels] = []
        self._path: list[Positions] = []

    def positions(self) -> Iterator[Positions]:
        """The beads' `(x, y)` for frame 0, 1, 2, …, without end; always the same ones."""
        scene = self.scene
        chance = np.random.default_rng([scene.seed, 1])
        low = np.full(2, min(scene.margin_px, scene.width / 4, scene.height / 4)) if not scene.periodic else np.zeros(2)
        room = np.array([scene.width, scene.height], float) - (2 * low if scene.periodic else 2 * low + 1)
        at = _scattered(chance, scene.beads, room, scene.distance_px)
        while True:
            yield at + low
            at = at + chance.normal(0.0, scene.step_px, at.shape)
            at = at % room if scene.periodic else room - np.abs(room - np.abs(at) % (2 * room))

    def frames(self, start: int = 0) -> Iterator[tuple[Pixels, dict[str, Any]]]:
        """Images from frame `start` on, without end, and what the header's `extra` says of each."""
        scene = self.scene
        if scene.loop_frames:
            self.prepare()
            n = start
            while True:
                index = self.index(n)
                yield self._loop[index], {"simulated": True, "loop": scene.loop_frames, "index": index}
                n += 1
        for n, at in enumerate(self.positions()):
            if n >= start:
                yield self.render(at, n), {"simulated": True}

    def prepare(self) -> None:
        """Render the loop, if there is one (seconds for large frames)."""
        if self.scene.loop_frames and not self._loop:
            for n, at in zip(range(self.scene.loop_frames), self.positions()):
                self._loop.append(self.render(at, n))

    def index(self, n: int) -> int:
        """Which frame of the loop is shown as frame n: forth and back."""
        loop = self.scene.loop_frames
        if loop <= 1:
            return n if loop == 0 else 0
        n %= 2 * loop - 2
        return n if n < loop else 2 * loop - 2 - n

    def truth(self, frames: int) -> npt.NDArray[np.void]:
        """Where the beads were in frames 0 to `frames - 1`: TRUTH records."""
        scene = self.scene
        distinct = min(frames, scene.loop_frames) if scene.loop_frames else frames
        path = [at for _, at in zip(range(distinct), self.positions())]
        records = np.empty((frames, scene.beads), TRUTH)
        for n in range(frames):
            at = path[self.index(n)]
            records[n]["frame"] = n
            records[n]["bead"] = np.arange(scene.beads)
            records[n]["x"], records[n]["y"] = at[:, 0], at[:, 1]
        return records.reshape(-1)

    def save_truth(self, path: Path | str, frames: int) -> None:
        """Write the truth and the scene as .npz: arrays `truth` (frame, bead, x, y) and `scene` (JSON)."""
        scene = np.array(msgspec.json.encode(self.scene).decode())
        np.savez_compressed(Path(path), truth=self.truth(frames), scene=scene)

    def render(self, at: Positions, n: int) -> Pixels:
        """One image of beads at `(x, y)`; n chooses the noise."""
        scene = self.scene
        chance = np.random.default_rng([scene.seed, 2, n])
        image = self._background(chance)
        half = math.ceil(3.6 * scene.sigma_px)  # beyond, a spot of 600 counts has less than one
        patch = np.arange(-half, half + 1)
        corner = np.rint(at).astype(np.int64)
        columns, rows = corner[:, :1] + patch, corner[:, 1:] + patch
        gx = np.exp(-((columns - at[:, :1]) ** 2) / (2 * scene.sigma_px**2))
        gy = np.exp(-((rows - at[:, 1:]) ** 2) / (2 * scene.sigma_px**2))
        spots = scene.signal * gy[:, :, None] * gx[:, None, :]
        light = chance.poisson(spots) if scene.noise else np.rint(spots).astype(np.int64)
        # Spot by spot, in the image itself: a sum over whole frames of int64 costs more than tracking them does.
        for spot, row, column in zip(light, rows, columns):
            self._add(image, spot, row, column)
        return image

    def _add(self, image: Pixels, spot: npt.NDArray[np.int64], rows: Indices, columns: Indices) -> None:
        """Add a spot `(rows, columns)` to an image, up to its type's limit.

        What is outside of the image is left out or, in a periodic scene, comes in at the other side.
        """
        height, width = image.shape
        limit = np.iinfo(image.dtype).max
        if rows[0] >= 0 and columns[0] >= 0 and rows[-1] < height and columns[-1] < width:
            part = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            part[...] = np.minimum(part + spot, limit)
            return
        if self.scene.periodic:
            rows, columns = rows % height, columns % width
        inside_y, inside_x = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
        rows, to_row = np.unique(rows[inside_y], return_inverse=True)
        columns, to_column = np.unique(columns[inside_x], return_inverse=True)
        place = np.ix_(rows, columns)
        counts = image[place].astype(np.int64)
        np.add.at(counts, np.ix_(to_row, to_column), spot[np.ix_(inside_y, inside_x)])
        image[place] = np.minimum(counts, limit)

    def _background(self, chance: np.random.Generator) -> Pixels:
        """A part of the noise, turned and moved by chance. The sum of two Poisson counts is one again."""
        scene = self.scene
        if self._noise is None:
            shape = (scene.height + 64, scene.width + 64)
            drawn = np.random.default_rng([scene.seed, 3])
            counts = drawn.poisson(scene.background, shape) if scene.noise else np.full(shape, round(scene.background))
            self._noise = np.minimum(counts, np.iinfo(scene.dtype).max).astype(scene.dtype)
            self._mirrored = np.ascontiguousarray(self._noise[:, ::-1])  # so that rows are always copied forwards
        y, x = chance.integers(0, 65, 2)
        down, right = chance.choice([-1, 1]), chance.choice([-1, 1])
        noise, x = (self._noise, x) if right > 0 else (self._mirrored, 64 - x)
        return np.ascontiguousarray(noise[y : y + scene.height, x : x + scene.width][::down])


def _scattered(chance: np.random.Generator, beads: int, room: Positions, distance: float) -> Positions:
    """Places for the beads, apart from each other where there is room for that."""
    at = np.empty((0, 2))
    for _ in range(200):
        if len(at) == beads:
            return at
        for one in chance.uniform(0, room, (beads - len(at), 2)):
            if not len(at) or np.min(np.sum((at - one) ** 2, axis=1)) >= distance**2:
                at = np.vstack([at, one])
    rest = chance.uniform(0, room, (beads - len(at), 2))
    return np.vstack([at, rest])
