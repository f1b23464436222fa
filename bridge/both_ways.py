"""Calls that are said once, for clients that wait and for clients that are awaited.

    class Calls:
        @asking
        def undo(self) -> Ask[Settings]:
            return Ask(wire.Undo(), settings_of)

Of a class that is also `Waiting`, `undo()` gives Settings; of one that is also `Awaiting`, `await undo()` does.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from numpy.typing import NDArray

from bridge import control_wire as wire

Arguments = ParamSpec("Arguments")
Given = TypeVar("Given")
Given_co = TypeVar("Given_co", covariant=True)
Result = dict[str, Any]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Ask(Generic[Given]):
    """A request, and how what it gives is read from the answer's result and arrays."""

    request: wire.AnyRequest
    read: Callable[[Result, Arrays], Given]


class Waiting(ABC):
    """A client whose calls return when the answer is there."""

    @abstractmethod
    def call(self, request: wire.AnyRequest) -> tuple[Result, Arrays]:
        """Ask; the result and its arrays. Raises SettingsError or PeerError with what the server said."""

    def ask(self, asked: Ask[Given]) -> Given:
        """What is given for it."""
        return asked.read(*self.call(asked.request))


class Awaiting(ABC):
    """A client whose calls are awaited."""

    @abstractmethod
    async def call(self, request: wire.AnyRequest) -> tuple[Result, Arrays]:
        """Ask; the result and its arrays. Raises SettingsError or PeerError with what the server said."""

    async def ask(self, asked: Ask[Given]) -> Given:
        """What is given for it."""
        return asked.read(*await self.call(asked.request))


class Call(Protocol[Arguments, Given_co]):
    """What a method under `asking` is for type checkers. In fact it is a plain function."""

    @overload
    def __get__(self, client: Waiting, kind: type) -> Callable[Arguments, Given_co]: ...
    @overload
    def __get__(self, client: Awaiting, kind: type) -> Callable[Arguments, Coroutine[Any, Any, Given_co]]: ...
    @overload
    def __get__(self, client: None, kind: type) -> Callable[..., Any]: ...


def asking(method: Callable[Concatenate[Any, Arguments], Ask[Given]]) -> Call[Arguments, Given]:
    """A method that says what to ask becomes one that asks it, in its client's way."""
    # People, help() and type hints are to see what the answer is read as. Before `wraps`, which copies annotations.
    asks = str(method.__annotations__["return"])
    method.__annotations__["return"] = asks.removeprefix("Ask[").removesuffix("]")

    @functools.wraps(method)
    def asked(client: Any, *args: Any, **named: Any) -> Any:
        return client.ask(method(client, *args, **named))

    return cast(Call[Arguments, Given], asked)


def as_it_is(result: Result, arrays: Arrays) -> Result:
    """For calls that give the answer's result."""
    return result


def nothing(result: Result, arrays: Arrays) -> None:
    """For calls whose answer says only that it was done."""
    return
