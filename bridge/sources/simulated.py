"""The simulated camera as a source: `simulated?width=512&height=512&beads=100&fps=100&frames=1000`.

Options are the fields of `bridge.simulator.Scene` and those below. What is not said (width, height, dtype, fps) is what
the run expects.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from bridge.simulator import Count, Scene, Simulator
from bridge.sources.base import Shot, Unreadable
from bridge.wire import Answer
from engine.clocks import NS, monotonic_ns
from engine.errors import SettingsError
from engine.frames import TimeSource
from engine.type_words import nearest_name, words_of


class Camera(Scene, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scene, and how the camera gives it."""

    frames: Count = 0  # how many; 0: without end
    live: bool = True  # False: as fast as they are taken, none is ever dropped
    first: Count = 0  # counter of the first frame
    skip: str = ""  # counters that the camera leaves out: "100-104", or "7,20-22"
    restart: Count = 0  # after so many frames the counter starts again at `first`; 0: never


C = TypeVar("C", bound=Camera)


class SimulatedCamera:
    """See the module."""

    waits = False

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        camera = read_options(options, Camera)
        self.live = camera.live
        self.waits = not camera.live
        self.name = f"simulated camera, seed {camera.seed}"
        self._skipped = _ranges(camera.skip)
        self.simulator = Simulator(camera)
        self.given = 0

    @classmethod
    def parse(cls, text: str) -> SimulatedCamera:
        """From the source string. Raises SettingsError."""
        query = text.partition("?")[2]
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        except ValueError:
            raise SettingsError(f"source: {text}: options are written as simulated?width=512&beads=100") from None
        if any(name == "light" for name, _ in pairs):
            from bridge.sources.lit import LitCamera

            return LitCamera(dict(pairs))
        return cls(dict(pairs))

    def frames(self, welcome: Answer) -> Iterator[Shot | Unreadable | None]:
        """Frames at the scene's rate (live), or as fast as they are asked for."""
        expected = {"dtype": welcome.dtype} if welcome.dtype else {}
        if welcome.shape:
            expected |= {"height": str(welcome.shape[0]), "width": str(welcome.shape[1])}
        if welcome.fps:
            expected["fps"] = repr(welcome.fps)
        camera = read_options(expected | self._options, Camera)
        self.simulator = Simulator(camera)
        self.simulator.prepare()
        start = max(0, welcome.resume - camera.first)
        began = monotonic_ns() - round(start * NS / camera.fps)
        for n, (image, extra) in zip(self._numbers(camera, start), self.simulator.frames(start)):
            due = began + round(n * NS / camera.fps)
            while camera.live and (left := due - monotonic_ns()) > 0:
                time.sleep(min(0.1, left / NS))
                if left > NS // 10:
                    yield None
            self.given = n + 1
            counter = camera.first + (n % camera.restart if camera.restart else n)
            if n in self._skipped:
                continue
            yield Shot(
                image=image, counter=counter, t_ns=due if camera.live else None, copy=False, extra=extra,
                time_source=TimeSource.HARDWARE if camera.live else TimeSource.HEADER,
            )  # fmt: skip

    def save_truth(self, path: Path) -> None:
        """Write where the beads were in the frames given so far (`frame` is the camera's count of exposures)."""
        self.simulator.save_truth(path, self.given)

    def kind(self) -> tuple[tuple[int, int], str]:
        """What its options say; 0 and an empty type where they say nothing, and it gives what the run wants."""
        said = self._options
        camera = self.simulator.scene
        shape = camera.height if "height" in said else 0, camera.width if "width" in said else 0
        return shape, camera.dtype if "dtype" in said else ""

    def close(self) -> None:
        """Nothing is held."""

    @staticmethod
    def _numbers(camera: Camera, start: int) -> Iterator[int]:
        n = start
        while not camera.frames or n < camera.frames:
            yield n
            n += 1


def read_options(options: dict[str, Any], kind: type[C]) -> C:
    """A camera from its options, which may be text. Raises SettingsError with the option and what it may be."""
    known = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for name, given in options.items():
        if name not in known:
            near = nearest_name(name, known)
            hint = f"Did you mean {near}?" if near else f"There are: {', '.join(sorted(known))}"
            raise SettingsError(f"source: simulated: there is no option {name}. {hint}")
        try:
            value = msgspec.convert(given, known[name], strict=False)
        except msgspec.ValidationError:
            value = math.nan
        if isinstance(value, float) and not math.isfinite(value):
            words = words_of(msgspec.inspect.type_info(known[name]))
            raise SettingsError(f"source: simulated: {name}={given} is not allowed; it must be {words}")
    camera = msgspec.convert(options, kind, strict=False)
    if camera.dtype not in ("uint8", "uint16"):
        raise SettingsError(f"source: simulated: dtype={camera.dtype} is not allowed; it must be uint8 or uint16")
    return camera


def _ranges(text: str) -> set[int]:
    numbers: set[int] = set()
    try:
        for part in filter(None, text.split(",")):
            first, _, last = part.partition("-")
            numbers |= set(range(int(first), int(last or first) + 1))
    except ValueError:
        raise SettingsError(f'source: simulated: skip: "{text}"; write it as 100-104 or 7,20-22') from None
    return numbers
