"""The light from a script: `client.slm` of `bridge.Client`.

    client.slm.catch()                                     # a trap for every particle that is seen
    client.slm.arm()                                       # nothing is shown before
    client.slm.assemble(grid(5, 5, 40, (256, 256)))        # returns at once; `wait` waits until they are there

`slm` of `bridge.AsyncClient` is the same with `await`. Lengths are pixels of the camera. Raises SettingsError with the
reason of a refusal; then nothing was changed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bridge import control_wire as wire
from bridge.both_ways import Arrays, Ask, Awaiting, Given, Result, Waiting, as_it_is, asking, nothing
from engine.errors import PeerError

Place = Sequence[float]
LOOK_AGAIN_S = 0.05


def grid(columns: int, rows: int, pitch: float, centre: Place) -> list[tuple[float, float]]:
    """Places of a grid about a centre, pixels."""
    return [
        (centre[0] + (i - (columns - 1) / 2) * pitch, centre[1] + (j - (rows - 1) / 2) * pitch)
        for j in range(rows)
        for i in range(columns)
    ]


class Light:
    """Orders to the light, said once for both clients."""

    @asking
    def arm(self) -> Ask[dict[str, Any]]:
        """Light from now on; the data have to be fresh."""
        return _order("arm", as_it_is)

    @asking
    def disarm(self) -> Ask[dict[str, Any]]:
        """No light in traps, at once. They are remembered."""
        return _order("disarm", as_it_is)

    @asking
    def trap(
        self, x: float | None = None, y: float | None = None, *, particle: int | None = None, trap: int | None = None,
        z: float = 0.0, intensity: float = 1.0,
    ) -> Ask[int]:  # fmt: skip
        """A trap at a place or at a particle; its number. With the number of one: other z and intensity."""
        return _order(
            "trap", lambda result, _: int(result["trap"]),
            x=x, y=y, particle=particle, trap=trap, z=float(z), intensity=float(intensity),
        )  # fmt: skip

    @asking
    def catch(self, most: int | None = None) -> Ask[list[int]]:
        """A trap for every free particle; frozen traps may take the nearest one. The numbers of new traps."""
        return _order("catch", _traps, most=most)

    @asking
    def move(self, to: Mapping[int, Place], step: float = 0.0) -> Ask[int]:
        """Traps to places, together and straight; how many frames it takes."""
        places = {str(trap): _numbers(place) for trap, place in to.items()}
        return _order("move", _frames, to=places, step=float(step))

    @asking
    def rotate(self, angle_deg: float, traps: Sequence[int] | None = None, centre: Place | None = None) -> Ask[int]:
        """Traps (all) about a centre (their middle), clockwise on the picture; how many frames it takes."""
        turned, about = None if traps is None else list(traps), None if centre is None else _numbers(centre)
        return _order("rotate", _frames, angle_deg=float(angle_deg), traps=turned, centre=about)

    @asking
    def assemble(self, pattern: Sequence[Place], step: float = 0.0) -> Ask[list[int]]:
        """Traps that hold a particle to the places of a pattern; which trap went to each place."""
        return _order("assemble", _traps, pattern=[_numbers(place) for place in pattern], step=float(step))

    @asking
    def release(self, traps: Sequence[int] | None = None) -> Ask[None]:
        """No light for these (all) any more."""
        return _order("release", nothing, traps=None if traps is None else list(traps))

    @asking
    def halt(self) -> Ask[None]:
        """All traps stay where they are."""
        return _order("halt", nothing)

    @asking
    def feedback(self, mode: str, gain: float = 0.0, integral: float = 0.0) -> Ask[dict[str, Any]]:
        """ "off", "reposition", "p" or "pi"; a gain that would oscillate with the measured latency is refused."""
        return _order("feedback", as_it_is, mode=mode, gain=float(gain), integral=float(integral))

    @asking
    def state(self) -> Ask[dict[str, Any]]:
        """Light, traps, ways, latency."""
        return _order("state", as_it_is)


class LightClient(Light, Waiting):
    """`client.slm` of `bridge.Client`."""

    def __init__(self, client: Waiting) -> None:
        self._client = client

    def call(self, request: wire.AnyRequest) -> tuple[Result, Arrays]:
        return self._client.call(request)

    def wait(self, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait until all traps are where they shall be; the state. Raises PeerError, with what they wait for."""
        end = time.monotonic() + timeout_s
        while (state := self.state())["moving"]:
            _check_patience(state, timeout_s, end)
            time.sleep(LOOK_AGAIN_S)
        return state


class AsyncLightClient(Light, Awaiting):
    """`client.slm` of `bridge.AsyncClient`."""

    def __init__(self, client: Awaiting) -> None:
        self._client = client

    async def call(self, request: wire.AnyRequest) -> tuple[Result, Arrays]:
        return await self._client.call(request)

    async def wait(self, timeout_s: float = 60.0) -> dict[str, Any]:
        """As that of `LightClient`."""
        end = time.monotonic() + timeout_s
        while (state := await self.state())["moving"]:
            _check_patience(state, timeout_s, end)
            await asyncio.sleep(LOOK_AGAIN_S)
        return state


def _order(order: str, read: Callable[[Result, Arrays], Given], **values: Any) -> Ask[Given]:
    """An order to the light; a value that is None is not sent."""
    given = {name: value for name, value in values.items() if value is not None}
    return Ask(wire.Slm(order=order, values=given), read)


def _traps(result: Result, arrays: Arrays) -> list[int]:
    return list(result["traps"])


def _frames(result: Result, arrays: Arrays) -> int:
    return int(result["frames"])


def _numbers(place: Place) -> list[float]:
    return [float(v) for v in place]


def _check_patience(state: dict[str, Any], timeout_s: float, end: float) -> None:
    if time.monotonic() > end:
        waits = next((way["waits"] for way in state["moving"] if way["waits"]), "they are on their way")
        raise PeerError(f"after {timeout_s:g} s the traps are not there: {waits}")
