"""How wishes reach the process of the light: from the control server, over a name that belongs to this run alone.

The control server forwards `{"id", "order", "values"}` and gets `{"id", "result"}` or `{"id", "error"}` back. Orders
are the methods of `Conductor` named in `ORDERS`; their arguments are checked by their types.
"""

from __future__ import annotations

import inspect
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import msgspec
import zmq

from bridge.slm.conductor import Conductor
from engine.errors import PeerError, SettingsError

ORDERS = ("trap", "catch", "move", "rotate", "assemble", "release", "halt", "arm", "disarm", "feedback", "state")
ANSWER_S = 2.0
TAKEN_WITHIN_S = 0.3


def light_address(run_id: str) -> str:
    """An abstract name: no file, gone with the process."""
    return f"ipc://@ringtrack-{run_id}-slm"


class Office:
    """The side of the process of the light: answers what has come. A context manager."""

    def __init__(self, run_id: str, do: Callable[[str, Mapping[str, Any]], dict[str, Any]]) -> None:
        self._address, self._do = light_address(run_id), do

    def __enter__(self) -> Office:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 100)
        self._socket.setsockopt(zmq.MAXMSGSIZE, 1 << 20)
        self._socket.bind(self._address)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._context.term()

    def step(self) -> None:
        """Answer all that waits; never blocks."""
        for _ in range(16):
            try:
                identity, data = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            except ValueError:
                continue
            self._socket.send_multipart([identity, msgspec.msgpack.encode(self._answer(data))], zmq.NOBLOCK)

    def _answer(self, data: bytes) -> dict[str, Any]:
        number = 0
        try:
            asked = msgspec.msgpack.decode(data)
            number = int(asked["id"])
            return {"id": number, "result": self._do(str(asked["order"]), asked["values"])}
        except SettingsError as error:
            return {"id": number, "error": str(error)}
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            return {"id": number, "error": f"slm: not understood: {error}"}


def checked(method: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for a method of the conductor, converted by its types. Raises SettingsError."""
    hints = get_type_hints(method)
    names = inspect.signature(method).parameters
    unknown = [name for name in values if name not in names]
    if unknown:
        raise SettingsError(f"slm {method.__name__}: there is no {unknown[0]}; there are: {', '.join(names)}")
    try:
        return {name: msgspec.convert(value, hints[name], strict=True) for name, value in values.items()}
    except msgspec.ValidationError as error:
        raise SettingsError(f"slm {method.__name__}: {error}") from None


def obey(conductor: Conductor, order: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Orders that concern the conductor alone. Raises SettingsError."""
    if order not in ORDERS:
        raise SettingsError(f"slm: there is no order {order!r}; there are: {', '.join(ORDERS)}")
    method = getattr(conductor, order)
    try:
        found: dict[str, Any] = method(**checked(method, values))
    except TypeError as error:
        raise SettingsError(f"slm {order}: {error}") from None
    return found


class Errand:
    """The control server's side: forwards an order and polls for its answer. Opens its socket with the first one."""

    def __init__(self, run_id: str) -> None:
        self._address = light_address(run_id)
        self._numbers = itertools.count(1)
        self._socket: zmq.Socket[bytes] | None = None
        self._unsent: dict[int, tuple[bytes, float]] = {}  # until when somebody has to take it
        self._answers: dict[int, dict[str, Any]] = {}

    def send(self, order: str, values: Mapping[str, Any]) -> int:
        """Forward it as soon as somebody is there to take it; the number to poll for. Never waits."""
        if self._socket is None:
            self._context = zmq.Context()
            self._socket = self._context.socket(zmq.DEALER)
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.setsockopt(zmq.SNDHWM, 64)
            self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
            # Without it what was asked of a process that died is done by its successor, whom nobody asked.
            self._socket.setsockopt(zmq.IMMEDIATE, 1)
            self._socket.connect(self._address)
        number = next(self._numbers)
        message = msgspec.msgpack.encode({"id": number, "order": order, "values": dict(values)})
        self._unsent[number] = message, time.monotonic() + TAKEN_WITHIN_S
        self._hand_over()
        return number

    def poll(self, number: int, over: bool) -> dict[str, Any] | None:
        """The result, None: not yet.

        Raises SettingsError (refused), PeerError (nobody took it, or `over` and no answer).
        """
        self._hand_over()
        if number in self._unsent and (over or time.monotonic() > self._unsent[number][1]):
            del self._unsent[number]
            raise PeerError("the process of the light is not there at the moment")
        while self._socket is not None and self._socket.poll(0):
            answer = msgspec.msgpack.decode(self._socket.recv())
            self._answers[answer["id"]] = answer
        found = self._answers.pop(number, None)
        if found is None:
            if over:
                raise PeerError("the process of the light has not answered; was it killed?")
            return None
        if "error" in found:
            raise SettingsError(found["error"])
        result: dict[str, Any] = found["result"]
        return result

    def _hand_over(self) -> None:
        """Send what waits, in order, if somebody is connected."""
        for number, (message, _) in list(self._unsent.items()):
            if self._socket is None or not self._socket.poll(0, zmq.POLLOUT):
                return
            self._socket.send(message, zmq.NOBLOCK)
            del self._unsent[number]

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=0)
            self._context.term()
            self._socket = None
