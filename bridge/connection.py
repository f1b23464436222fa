"""What both clients share of the way to a control server: address, keys, socket, and what is said when it is late."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from bridge import control_wire as wire
from bridge.both_ways import Arrays, Result
from bridge.clear import address_beside
from engine.addresses import is_loopback
from engine.errors import PeerError, RingtrackError, SettingsError

LARGEST_PICTURE = 4 << 30
DEFAULT_ADDRESS = "tcp://127.0.0.1:50053"


class NoAnswerError(PeerError):
    """Nobody has answered in time: the run has ended, is too busy, or is not there."""


class Connection:
    """Which server is meant, and how it is reached."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout_s: float = 5.0,
        keys: Path | str | None = None,
        run_id: str = "",
    ) -> None:
        """`keys`: the folder of `client.key_secret` and `server.key`, for a server on another computer.

        `run_id`: the run that is meant; another one at the same address refuses every call. Without it whichever run
        is there is steered, and `client.run_id` says which one answered last.
        """
        self.address, self.timeout_s = address, timeout_s
        self.run_id = run_id  # of the run that answered last, or that is meant
        self._meant = run_id
        self._keys = None if keys is None else Path(keys)  # notebooks give texts
        self._numbers = itertools.count(1)
        self._socket: Any = None

    def _connect(self, context: Any) -> Any:
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 16)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        if self._keys is not None:
            from bridge.keys import call_with_keys

            try:
                call_with_keys(socket, self._keys)
            except BaseException:
                socket.close(linger=0)
                raise
        try:
            socket.connect(self.address)
        except zmq.ZMQError:
            socket.close(linger=0)
            raise SettingsError(f"{self.address!r} is no address; it must be tcp://host:port") from None
        return socket

    def _leaving(self, request: wire.AnyRequest) -> wire.AnyRequest:
        """A request as it leaves: with its number, the run it is for unless it names one itself, and, for a client with
        keys, that it can fetch pixels beside the encrypted connection."""
        if self._keys is not None and isinstance(request, wire.Latest):
            request = msgspec.structs.replace(request, clear=True)
        return msgspec.structs.replace(request, id=next(self._numbers), run=request.run or self._meant)

    def _connect_beside(self, context: Any, port: int) -> Any:
        """A socket for what is fetched in the clear."""
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_PICTURE)
        socket.connect(address_beside(self.address, port))
        return socket

    def _late(self, request: wire.AnyRequest) -> NoAnswerError:
        what = type(request).__struct_config__.tag
        return NoAnswerError(
            f"{self.address} has not answered {what!r} within {self.timeout_s:g} s; is the run going on?{self._hint()}"
        )

    def _hint(self) -> str:
        """A server that others can reach says nothing at all to who has no keys."""
        host = self.address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
        if self._keys is not None or self.address.startswith("ipc:") or is_loopback(host):
            return ""
        return " From another computer its keys are needed: Client(..., keys=folder), made by `ringtrack keys`"

    def _limit_ms(self, request: wire.AnyRequest) -> int:
        return round(1000 * (self.timeout_s + getattr(request, "wait_s", 0.0)))


def fetched(part: wire.BesidePart, data: Any) -> NDArray[Any]:
    """Pixels that were fetched in the clear. Raises PeerError if they are not what was announced."""
    try:
        return np.frombuffer(data, np.dtype(part.dtype)).reshape(part.shape)
    except (ValueError, TypeError):
        raise PeerError(f"the {part.name} that were fetched are not those that were announced; ask again") from None


def packed(request: wire.AnyRequest) -> bytes:
    """The request as it is sent; numbers of numpy go as what they are. Raises SettingsError for what has no form."""
    try:
        return msgspec.msgpack.encode(request, enc_hook=_plain)
    except (TypeError, OverflowError) as error:
        raise SettingsError(f"cannot be sent: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r}, a {type(value).__name__}")


def taken(answer: wire.Answer, arrays: Arrays) -> tuple[Result, Arrays]:
    """What an answer brought. Raises what it says is wrong, sorted by whose fault it is."""
    if answer.error:
        kinds: dict[str, type[RingtrackError]] = {
            "settings": SettingsError, "request": SettingsError, "version": wire.OtherVersionError,
        }  # fmt: skip
        raise kinds.get(answer.blame, PeerError)(answer.error)
    return answer.result, arrays
