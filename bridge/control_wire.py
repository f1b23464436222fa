"""What control clients and the control server say to each other, as msgpack. `docs/reference/control-protocol.md`.

A request is one message of one part; an answer has as many parts more as it names arrays. `v` is the version of this
protocol, `id` the client's own number of the request, which comes back in the answer.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from bridge.control_faults import fault_of
from engine.errors import PeerError, SettingsError

VERSION = 1
LARGEST_REQUEST = 1 << 20
MOST_RESULTS = 512
LONGEST_WAIT_S = 30.0
Text = Annotated[str, Meta(max_length=4000)]
Wait = Annotated[float, Meta(ge=0, le=LONGEST_WAIT_S)]


class Request(msgspec.Struct, frozen=True, kw_only=True, tag_field="ask", forbid_unknown_fields=True):
    """Every request has these."""

    v: int = VERSION
    id: int = 0
    run: Annotated[str, Meta(max_length=40)] = ""  # the run that is meant, by its id: any other one refuses


class Hello(Request, frozen=True, kw_only=True, tag="hello"):
    """Who is there? Answered with the run, its camera, what may be set live."""


class GetSettings(Request, frozen=True, kw_only=True, tag="settings"):
    """The settings of a version; 0: of the newest."""

    version: Annotated[int, Meta(ge=0)] = 0


class SetSettings(Request, frozen=True, kw_only=True, tag="set"):
    """Other values for keys of [tracking] and [linking], all or none."""

    values: dict[Text, Any]


class Undo(Request, frozen=True, kw_only=True, tag="undo"):
    """Bring the settings before the last change back, as a new version."""


class Preview(Request, frozen=True, kw_only=True, tag="preview"):
    """What would be found in the newest frame with other values; nothing is changed."""

    values: dict[Text, Any] = {}


class Latest(Request, frozen=True, kw_only=True, tag="latest"):
    """The newest frame with its particles. `image`: its pixels too, reduced until neither side is beyond `most_px`.

    `region`: only those pixels, rows y0 to y1 and columns x0 to x1, which must lie in the frame, unless `clip`: then as
    much of them as does. `saturated`: which of the pixels that are sent hold one at the sensor's limit.
    """

    image: bool = True
    most_px: Annotated[int, Meta(ge=0, le=65536)] = 0  # 0: as they are
    region: tuple[int, int, int, int] | None = None
    saturated: bool = False
    clip: bool = False
    clear: bool = False  # over a socket with keys: pixels may be fetched beside it, in the clear (`Answer.beside`)


class Results(Request, frozen=True, kw_only=True, tag="results"):
    """Results from place `after` + 1 on, at most `most` frames; waits up to `wait_s` for the first.

    `after` -1: from the oldest that is kept; None: only what comes from now on, or, with `from_frame`, what is
    kept. Frames with a number below `from_frame` are left out, also those that are still to come.
    """

    after: Annotated[int, Meta(ge=-1)] | None = None
    from_frame: int | None = None
    most: Annotated[int, Meta(ge=1, le=MOST_RESULTS)] = 64
    wait_s: Wait = 1.0


class Metrics(Request, frozen=True, kw_only=True, tag="metrics"):
    """Rates, latencies, processes."""


class Accounting(Request, frozen=True, kw_only=True, tag="accounting"):
    """Every step: arrived, out, lost, in flight; and the ranges that were lost."""


class Mark(Request, frozen=True, kw_only=True, tag="mark"):
    """Mark the newest frame in the run's events; a rule may wait for it."""

    text: Annotated[str, Meta(min_length=1, max_length=4000)]


class Note(Request, frozen=True, kw_only=True, tag="note"):
    """Write a remark into the run's events, at this moment."""

    text: Annotated[str, Meta(min_length=1, max_length=4000)]


class Trace(Request, frozen=True, kw_only=True, tag="trace"):
    """Write a trace of so many seconds, from the next frame on, into the run's folder. Answered at once."""

    seconds: Annotated[float, Meta(gt=0, le=60)] = 5.0


class SaveStack(Request, frozen=True, kw_only=True, tag="save_stack"):
    """Write frames into one BigTIFF in the run's folder. `count`: the next so many; 0: those in the ring now."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,60}\Z", description="1 to 60 of A-Z, a-z, 0-9, _ and -")]
    count: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class Record(Request, frozen=True, kw_only=True, tag="record"):
    """Start, stop, pause or resume recording. `before_s`: what came so long before is of the take too; `for_s`: it ends
    by itself (0: it does not). "crops": keep crops of the particles that `name` says, as record.crop_particles does."""

    action: Literal["start", "stop", "pause", "resume", "crops"]
    name: Annotated[
        str, Meta(max_length=60, pattern=r"^[^\x00-\x1f\x7f]*\Z", description="text of one line, at most 60 letters")
    ] = ""
    before_s: Annotated[float, Meta(ge=0, le=60)] = 0.0
    for_s: Annotated[float, Meta(ge=0, le=86400)] = 0.0


class Storage(Request, frozen=True, kw_only=True, tag="storage"):
    """Switch outputs of the run off and on: {"csv": false, "lsl": true}; all or none."""

    values: Annotated[dict[Text, bool], Meta(min_length=1)]


class LogLines(Request, frozen=True, kw_only=True, tag="log"):
    """The last lines of the run's log."""

    lines: Annotated[int, Meta(ge=1, le=500)] = 20


class Stop(Request, frozen=True, kw_only=True, tag="stop"):
    """End the run in order."""


class Slm(Request, frozen=True, kw_only=True, tag="slm"):
    """An order to the light, one of `bridge.slm.orders.ORDERS`, with its arguments."""

    order: Annotated[str, Meta(min_length=1, max_length=40)]
    values: dict[Text, Any] = {}


AnyRequest = (
    Hello
    | GetSettings
    | SetSettings
    | Undo
    | Preview
    | Latest
    | Results
    | Metrics
    | Accounting
    | Mark
    | Note
    | Trace
    | SaveStack
    | Record
    | Storage
    | LogLines
    | Stop
    | Slm
)


class ArrayPart(msgspec.Struct, frozen=True):
    """One more part of the message: an array. `dtype` is numpy's name, or [[name, type], ...] of a table."""

    name: str
    dtype: str | list[tuple[str, str]]
    shape: tuple[int, ...]


class BesidePart(msgspec.Struct, frozen=True):
    """An array that is not in this message: whoever shows the ticket at `Answer.beside_port` gets it, once."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    ticket: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a request. `error` says what was wrong, in words; then nothing was changed."""

    v: int = VERSION
    id: int = 0
    run_id: str = ""
    error: str = ""
    blame: str = ""  # "settings", "request", "version", "run" or "server"
    result: dict[str, Any] = {}
    arrays: list[ArrayPart] = []
    beside: list[BesidePart] = []
    beside_port: int = 0


_requests = msgspec.msgpack.Decoder(AnyRequest)
_answers = msgspec.msgpack.Decoder(Answer)
_anything = msgspec.msgpack.Decoder()


class OtherVersionError(PeerError):
    """The other side speaks another version of this protocol."""


def decode_request(data: bytes) -> AnyRequest:
    """Raises SettingsError with what is wrong with it, OtherVersionError."""
    try:
        request: AnyRequest = _requests.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _refusal(data) from None
    if request.v != VERSION:
        raise _of_another_version(request.v)
    if isinstance(request, Slm) and not _is_finite(request.values):  # no limit of power or place would stop a NaN
        raise SettingsError(f"slm {request.order}: a number that is not finite is not allowed")
    return request


def _is_finite(value: Any) -> bool:
    """Whether all numbers in it are."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(_is_finite(each) for each in value.values())
    return not isinstance(value, list | tuple) or all(_is_finite(each) for each in value)


def _refusal(data: bytes) -> SettingsError | OtherVersionError:
    """Why the bytes are no request; a wrong version first, because that explains all else."""
    try:
        raw = _anything.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return SettingsError("not understood: a request is msgpack, and this is not")
    version = raw.get("v") if isinstance(raw, dict) else None
    if isinstance(version, int) and version != VERSION:
        return _of_another_version(version)
    return SettingsError(fault_of(raw, AnyRequest))


def _of_another_version(version: int) -> OtherVersionError:
    return OtherVersionError(
        f"version {version} of the control protocol; this server speaks {VERSION}. "
        "Install the same release of ringtrack on both sides"
    )


def id_of(data: bytes) -> int:
    """The number of a request that could not be understood, as well as it can be told."""
    try:
        raw = _anything.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    found = raw.get("id", 0) if isinstance(raw, dict) else 0
    return found if isinstance(found, int) and -(2**63) <= found < 2**63 else 0


def described(name: str, array: NDArray[Any]) -> ArrayPart:
    """How an array is announced."""
    if array.dtype.names:
        fields: Any = array.dtype.fields
        return ArrayPart(name, [(key, fields[key][0].str) for key in array.dtype.names], array.shape)
    return ArrayPart(name, array.dtype.str, array.shape)


def decode_answer(parts: list[Any]) -> tuple[Answer, dict[str, NDArray[Any]]]:
    """An answer and its arrays, which share the memory of the parts. Raises PeerError."""
    try:
        answer = _answers.decode(parts[0])
        if answer.v != VERSION:
            raise OtherVersionError(
                f"the server speaks version {answer.v} of the control protocol, this client {VERSION}. "
                "Install the same release of ringtrack on both sides"
            )
        arrays = {}
        for part, data in zip(answer.arrays, parts[1:], strict=True):
            dtype = np.dtype(part.dtype)
            if dtype.hasobject:
                raise ValueError("objects are not taken from the network")
            arrays[part.name] = np.frombuffer(data, dtype).reshape(part.shape)
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise PeerError(
            f"what answers is no control server of ringtrack, or one of another release ({error})"
        ) from None
    return answer, arrays
