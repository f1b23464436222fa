"""What both clients share: what a call gives back, the socket, and how requests and answers are put into words."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from bridge import control_wire as wire
from bridge.clear import address_beside
from bridge.control_faults import fault_of
from engine.addresses import is_loopback
from engine.errors import PeerError, RingtrackError, SettingsError

if TYPE_CHECKING:
    import pandas as pd

LARGEST_PICTURE = 4 << 30
DEFAULT_ADDRESS = "tcp://127.0.0.1:50053"


@dataclass(frozen=True)
class Image:
    """The newest frame. `pixels` (height, width) as the camera sent them, each `step` pixels of the camera apart."""

    frame: int
    pixels: NDArray[Any]
    rows: NDArray[Any]  # engine.rows.ROW; x and y in pixels of the camera
    step: int
    meta: dict[str, int]  # times in nanoseconds of the tracking machine's clock, settings version, ...
    corner_yx: tuple[int, int] = (0, 0)  # of the first pixel, in the camera's frame
    saturated: NDArray[np.uint32] | None = None  # flat indices of pixels at the sensor's limit, where asked for

    @property
    def particles(self) -> pd.DataFrame:
        """One row a particle, trackpy's names."""
        return table_of(self.rows)


@dataclass(frozen=True)
class FrameResult:
    """The particles of one frame."""

    frame: int
    place: int
    rows: NDArray[Any]
    meta: dict[str, int]

    @property
    def particles(self) -> pd.DataFrame:
        """One row a particle, trackpy's names."""
        return table_of(self.rows)


@dataclass(frozen=True)
class Settings:
    """A version of the settings; `from_frame`: the first frame tracked with it, None if none has come yet."""

    version: int
    tracking: Any  # engine.experiment.Tracking
    linking: Any  # engine.experiment.Linking
    undo_to: int | None
    from_frame: int | None = None
    changes: dict[str, Any] = field(default_factory=dict)  # keys that were changed just now, with their new values


class Calls:
    """Requests and answers, without saying how they travel."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout_s: float = 5.0,
        keys: Path | str | None = None,
        run_id: str = "",
    ) -> None:
        """`keys`: the folder of `client.key_secret` and `server.key`, for a server on another computer.

        `run_id`: the run that is meant; another one at the same address refuses every call.
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
        """A request as it leaves: with its number, the run it is for, and what a client with keys can do."""
        if self._keys is not None and isinstance(request, wire.Latest):
            request = msgspec.structs.replace(request, clear=True)
        return numbered(request, next(self._numbers), self._meant)

    def _connect_beside(self, context: Any, port: int) -> Any:
        """A socket for what is fetched in the clear."""
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, LARGEST_PICTURE)
        socket.connect(address_beside(self.address, port))
        return socket

    def _late(self, request: wire.AnyRequest) -> PeerError:
        what = type(request).__struct_config__.tag
        return PeerError(
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


def numbered(request: wire.AnyRequest, number: int, run_id: str) -> wire.AnyRequest:
    """A request as it leaves: with its number and, unless it names one itself, the run that it is for."""
    return msgspec.structs.replace(request, id=number, run=request.run or run_id)


def taken(answer: wire.Answer, arrays: dict[str, NDArray[Any]]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    if answer.error:
        kinds: dict[str, type[RingtrackError]] = {
            "settings": SettingsError, "request": SettingsError, "version": wire.OtherVersionError,
        }  # fmt: skip
        raise kinds.get(answer.blame, PeerError)(answer.error)
    return answer.result, arrays


def settings_of(result: dict[str, Any]) -> Settings:
    from engine.experiment import Linking, Tracking

    try:
        tracking, linking = msgspec.convert(result["tracking"], Tracking), msgspec.convert(result["linking"], Linking)
    except msgspec.ValidationError as error:
        raise PeerError(f"the settings of the run are of another release of ringtrack: {error}") from None
    return Settings(
        version=result["version"], tracking=tracking, linking=linking, undo_to=result["undo_to"],
        from_frame=result.get("from_frame"), changes=result.get("changes", {}),
    )  # fmt: skip


def image_of(result: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Image:
    meta = result["meta"]
    y, x = result["corner"]
    return Image(
        meta["frame"], arrays.get("pixels", np.zeros((0, 0))), arrays["rows"], result["step"], meta, (y, x),
        arrays.get("saturated"),
    )  # fmt: skip


def results_of(result: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> list[FrameResult]:
    found, start = [], 0
    for frame in result["frames"]:
        rows = arrays["rows"][start : start + frame["rows"]]
        start += frame["rows"]
        found.append(FrameResult(frame["frame"], frame["place"], rows, frame))
    return found


def record_request(action: str, name: str, before_s: float, for_s: float) -> wire.Record:
    given = {"ask": "record", "action": action, "name": name, "before_s": before_s, "for_s": for_s}
    try:
        return msgspec.convert(given, wire.Record)
    except msgspec.ValidationError:
        raise SettingsError(fault_of(given, wire.AnyRequest)) from None


def keys_of(section: str, values: dict[str, Any] | None, more: dict[str, Any]) -> dict[str, Any]:
    return {key if "." in key else f"{section}.{key}": value for key, value in ((values or {}) | more).items()}


def table_of(rows: NDArray[Any]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows)
