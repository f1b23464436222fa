"""The light from a script: both clients order the same, and the light's own process knows every order."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import msgspec
import pytest

from bridge import AsyncClient, Client
from bridge import control_wire as wire
from bridge.answers import Settings
from bridge.slm.client import AsyncLightClient, LightClient, grid
from bridge.slm.conductor import Conductor
from bridge.slm.orders import ORDERS, checked
from engine.errors import PeerError

Answer = dict[str, Any]
FACTS: Answer = {"trap": 3, "traps": [1, 2], "frames": 7, "moving": []}

CALLS: list[tuple[Callable[[Any], Any], str, Answer, Any]] = [
    (lambda light: light.arm(), "arm", {}, FACTS),
    (lambda light: light.disarm(), "disarm", {}, FACTS),
    (lambda light: light.trap(1, 2), "trap", {"x": 1, "y": 2, "z": 0.0, "intensity": 1.0}, 3),
    (lambda light: light.trap(particle=5, z=1), "trap", {"particle": 5, "z": 1.0, "intensity": 1.0}, 3),
    (lambda light: light.catch(), "catch", {}, [1, 2]),
    (lambda light: light.catch(0), "catch", {"most": 0}, [1, 2]),
    (lambda light: light.move({4: (1, 2)}, 0.5), "move", {"to": {"4": [1.0, 2.0]}, "step": 0.5}, 7),
    (lambda light: light.rotate(90), "rotate", {"angle_deg": 90.0}, 7),
    (lambda light: light.rotate(90, (1,), (2, 3)), "rotate",
     {"angle_deg": 90.0, "traps": [1], "centre": [2.0, 3.0]}, 7),
    (lambda light: light.assemble(grid(2, 1, 10, (5, 5))), "assemble",
     {"pattern": [[0.0, 5.0], [10.0, 5.0]], "step": 0.0}, [1, 2]),
    (lambda light: light.release(), "release", {}, None),
    (lambda light: light.release([]), "release", {"traps": []}, None),
    (lambda light: light.halt(), "halt", {}, None),
    (lambda light: light.feedback("p", 0.5), "feedback", {"mode": "p", "gain": 0.5, "integral": 0.0}, FACTS),
    (lambda light: light.state(), "state", {}, FACTS),
    (lambda light: light.wait(), "state", {}, FACTS),
]  # fmt: skip


class Scripted(Client):
    """A client that is answered at once."""

    def __init__(self, facts: Answer) -> None:
        super().__init__()
        self.facts, self.asked = facts, list[wire.AnyRequest]()

    def call(self, request: wire.AnyRequest) -> tuple[Answer, Answer]:
        self.asked.append(request)
        return self.facts, {}


class ScriptedAsync(AsyncClient):
    """The same, awaited."""

    def __init__(self, facts: Answer) -> None:
        super().__init__()
        self.facts, self.asked = facts, list[wire.AnyRequest]()

    async def call(self, request: wire.AnyRequest) -> tuple[Answer, Answer]:
        self.asked.append(request)
        return self.facts, {}


@pytest.mark.parametrize(("order", "name", "values", "given"), CALLS)
def test_both_clients_order_the_same_of_the_light(
    order: Callable[[Any], Any], name: str, values: Answer, given: Any
) -> None:
    waiting, awaited = Scripted(FACTS), ScriptedAsync(FACTS)

    async def once() -> Any:
        return await order(awaited.slm)

    assert order(waiting.slm) == asyncio.run(once()) == given
    assert waiting.asked == awaited.asked == [wire.Slm(order=name, values=values)]
    sent = wire.decode_request(msgspec.msgpack.encode(waiting.asked[0]))
    assert isinstance(sent, wire.Slm)
    if name in vars(Conductor):
        checked(getattr(Conductor, name), sent.values)


def test_every_order_can_be_given_by_both_clients() -> None:
    for light in (LightClient, AsyncLightClient):
        assert set(ORDERS) | {"wait"} <= set(dir(light))
    assert {name for _, name, *_ in CALLS} == set(ORDERS)


def test_who_waits_too_long_hears_what_for() -> None:
    facts = {"moving": [{"waits": ""}, {"waits": "trap 3 is empty"}]}
    with pytest.raises(PeerError, match="after 0 s the traps are not there: trap 3 is empty"):
        Scripted(facts).slm.wait(0)
    with pytest.raises(PeerError, match="after 0 s the traps are not there: trap 3 is empty"):
        asyncio.run(ScriptedAsync(facts).slm.wait(0))


def test_people_see_what_an_order_gives() -> None:
    assert inspect.signature(Client().slm.catch) == inspect.signature(AsyncClient().slm.catch)
    assert str(inspect.signature(Client().slm.catch)) == "(most: 'int | None' = None) -> 'list[int]'"
    assert get_type_hints(Client.settings)["return"] is get_type_hints(AsyncClient.settings)["return"] is Settings
    assert (AsyncClient.settings.__doc__ or "").startswith("The settings of a version")
