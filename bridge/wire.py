"""The wire between a sender of frames and the receiver; `docs/wire-format.md` is its reference.

ZeroMQ, DEALER (sender) to ROUTER (receiver). A message is one part, a *header* in msgpack (a map, `v` = 1), but for a
frame, which has a second part: its pixels, raw, row by row, little-endian. Every message from the sender gets exactly
one answer. Unknown keys are ignored, so that keys can be added; what is there has to be right, or the message is
refused with a sentence that says why.

Plain Python: this file also runs on the camera PC.
"""

from __future__ import annotations

import secrets
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from engine.accounting import Cause, Step
from engine.errors import PeerError as PeerError
from engine.frames import EXTRA_BYTES, FILE_NAME_BYTES

VERSION = 1
MAX_HEADER_BYTES = 65_536
MAX_RANGES = 1000  # of `gave_up`, in one message
MAX_COUNTER = 2**53  # what a double holds exactly (LabVIEW, MATLAB)
MAX_SIDE = 65_536
MAX_LOST = 1_000_000_000  # frames in one range: months of a receiver that was away
SPEAKER_SILENT_S = 3.0  # after so much silence another source may speak
HELLO_EVERY_S = 1.0  # an idle sender says so as often

Counter = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNTER)]
Stream = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Nanoseconds = Annotated[int, msgspec.Meta(ge=-(2**61), le=2**61)]  # sums of them fit into 64 bits
Side = Annotated[int, msgspec.Meta(ge=1, le=MAX_SIDE)]
Text = Annotated[str, msgspec.Meta(max_length=200)]
Small = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Range = tuple[Counter, Counter, Annotated[int, msgspec.Meta(ge=0, le=255)]]
"""First and last counter, both included, and the `engine.accounting.Cause`."""

SENDER_CAUSES = {
    Cause.CAMERA_SKIPPED: Step.CAMERA,
    Cause.SENDER_BUFFER_FULL: Step.SENDER,
    Cause.SENDER_RESTARTED: Step.SENDER,
    Cause.SENDER_STOPPED: Step.SENDER,
    Cause.FILE_UNREADABLE: Step.SENDER,
}
"""What a sender may give as the cause of a loss, and at which step that is."""


class Verdict(StrEnum):
    """What the receiver says to a message."""

    WELCOME = "welcome"  # to a hello
    TAKEN = "taken"  # the frame is in the ring
    DROPPED = "dropped"  # a live source, and the ring is full: counted, never to be sent again
    REFUSED = "refused"  # and why: counted, never to be sent again
    AGAIN = "again"  # out of order: go back to the counter `next` and send from there
    BUSY = "busy"  # another source is speaking, or the run is ending: nothing was taken, say hello later
    CLOSED = "closed"  # to a bye


FINAL = frozenset({Verdict.TAKEN, Verdict.DROPPED, Verdict.REFUSED})
"""After one of these a frame is over for its sender."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    v: int = VERSION
    stream: Stream  # random, made at each start of a sender and whenever its counter starts again; 0: none
    t_sent_ns: Nanoseconds = 0  # sender's clock; comes back in the answer


class Hello(_Message, frozen=True, kw_only=True, tag="hello"):
    """The first message of a connection and of a stream, and a sign of life once a second from who is idle."""

    source: Text = "unnamed"  # for people
    host: Text = ""
    boot_id: Text = ""  # equal to the receiver's: one and the same clock
    previous: Stream = 0  # the stream of the same sender before this one
    live: bool = True
    fps: float = 0.0
    shape: tuple[Side, Side] | None = None  # (height, width)
    dtype: Text = ""


class Explained(_Message, frozen=True, kw_only=True):
    """What frames and byes share: they account for every counter since the last message."""

    previous: Stream = 0
    first: Counter  # first counter of the stream
    gave_up: list[Range] = []  # what the sender gives up since the last acknowledged frame


class FrameHeader(Explained, frozen=True, kw_only=True, tag="frame"):
    """In front of the pixels of one frame."""

    counter: Counter
    after: Counter | None = None  # the counter that came before from the camera; between the two the camera skipped
    live: bool = True  # False: a stack or a folder, which is held back and never dropped
    shape: tuple[Side, Side]  # (height, width)
    dtype: Text  # "uint8" or "uint16"
    bits: Annotated[int, msgspec.Meta(ge=1, le=16)] | None = None  # significant bits of a pixel
    high_aligned: bool = False
    region: tuple[Small, Small] = (0, 0)  # (y, x) on the sensor
    binning: Small = 1
    exposure_us: float | None = None
    gain: float | None = None
    trigger: Annotated[int, msgspec.Meta(ge=-1, le=MAX_COUNTER)] = -1
    file_name: Annotated[str, msgspec.Meta(max_length=FILE_NAME_BYTES)] = ""
    checksum: Annotated[int, msgspec.Meta(ge=0)] = 0  # xxh3-64 of the pixels; 0: none
    extra: dict[str, Any] | None = None  # free, EXTRA_BYTES of msgpack
    t_ns: Nanoseconds | None = None  # camera time on the sender's clock; None: a stack (n / fps) or unknown
    t_error_ns: Annotated[int, msgspec.Meta(ge=0, le=2**61)] = 0
    time_source: Annotated[int, msgspec.Meta(ge=0, le=3)] = 3  # engine.frames.TimeSource
    offset_ns: Nanoseconds | None = None  # receiver's clock minus sender's, as the sender estimates it
    offset_error_ns: Annotated[int, msgspec.Meta(ge=0, le=2**61)] = 0


class Bye(Explained, frozen=True, kw_only=True, tag="bye"):
    """The last message of a stream."""

    last: Annotated[int, msgspec.Meta(ge=-1, le=MAX_COUNTER)]  # its last counter, -1 if it had none
    more: bool = False  # another stream of the same sender follows: not the end of the source


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="answer"):
    """What the receiver says to each message."""

    v: int = VERSION
    verdict: Verdict
    stream: Stream = 0  # of the message that is answered
    counter: int = -1  # of the frame that is answered, -1 if it was none
    frame: int = -1  # to a frame that was taken just now: its number in the run
    next: int = -1  # next counter wanted of this stream, -1 if nothing of it is known
    resume: int = -1  # in a welcome: next counter wanted of this source if an earlier start of it never said bye
    why: str = ""
    run_id: str = ""
    incarnation: int = 0  # another one: the receiver has been restarted
    boot_id: str = ""  # in a welcome
    t_sent_ns: int = 0  # of the message that is answered
    t_received_ns: int = 0  # receiver's clock
    t_answer_ns: int = 0
    shape: tuple[int, int] | None = None  # in a welcome: what the run expects
    dtype: str = ""
    fps: float = 0.0


Message = Hello | FrameHeader | Bye

_encoder = msgspec.msgpack.Encoder()
_messages: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
_anything: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder()


def encode(message: Message | Answer) -> bytes:
    """Give the bytes of a header. Raises ValueError if it would be longer than the receiver accepts."""
    data = _encoder.encode(message)
    if len(data) > MAX_HEADER_BYTES:
        raise ValueError(f"header: {len(data)} bytes; at most {MAX_HEADER_BYTES}. Send less in `extra`")
    return data


def decode(data: bytes) -> Message:
    """Read a sender's header. Raises PeerError with a sentence for the sender."""
    if len(data) > MAX_HEADER_BYTES:
        raise PeerError(f"header: {len(data)} bytes; at most {MAX_HEADER_BYTES}")
    try:
        message = _messages.decode(data)
    except msgspec.MsgspecError as error:
        raise PeerError(_what_is_wrong(data, error)) from None
    except (UnicodeDecodeError, RecursionError):
        raise PeerError("header: not msgpack (text that is no UTF-8, or nested too deep)") from None
    if message.v != VERSION:
        raise PeerError(f"header: version {message.v}; this receiver speaks version {VERSION}")
    if isinstance(message, Explained):
        _check_ranges(message)
    if isinstance(message, FrameHeader):
        _check_frame(message)
    return message


def decode_answer(data: bytes) -> Answer:
    """Read a receiver's answer. Raises PeerError."""
    try:
        answer = _answers.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PeerError(f"the answer is none of ours ({error}); is this a ringtrack receiver?") from None
    if answer.v != VERSION:
        raise PeerError(f"the receiver speaks version {answer.v}, this sender version {VERSION}")
    return answer


def checksum(pixels: Any) -> int:
    """xxh3-64 of the raw pixels of a C-contiguous array."""
    import xxhash

    return xxhash.xxh3_64_intdigest(memoryview(pixels).cast("B"))


def frame_bytes(header: FrameHeader) -> int:
    """How many bytes of pixels have to follow."""
    return header.shape[0] * header.shape[1] * (2 if header.dtype == "uint16" else 1)


def _check_ranges(message: Explained) -> None:
    if len(message.gave_up) > MAX_RANGES:
        raise PeerError(f"gave_up: {len(message.gave_up)} ranges; at most {MAX_RANGES} in one message")
    for first, last, cause in message.gave_up:
        if last < first or last - first >= MAX_LOST:
            raise PeerError(f"gave_up: {first} to {last} is not a range of 1 to {MAX_LOST} frames")
        if cause not in SENDER_CAUSES:
            raise PeerError(f"gave_up: cause {cause} is not one of {sorted(map(int, SENDER_CAUSES))}")


def _check_frame(header: FrameHeader) -> None:
    if header.first > header.counter:
        raise PeerError(f"first: {header.first} is after counter, {header.counter}")
    if header.after is not None and header.after >= header.counter:
        raise PeerError(f"after: {header.after} is not before counter, {header.counter}")
    if len(header.file_name.encode()) > FILE_NAME_BYTES:
        raise PeerError(f"file_name: longer than {FILE_NAME_BYTES} bytes of UTF-8")
    if header.extra is not None and len(_encoder.encode(header.extra)) > EXTRA_BYTES:
        raise PeerError(f"extra: longer than {EXTRA_BYTES} bytes of msgpack")


def _what_is_wrong(data: bytes, error: Exception) -> str:
    """Say what a header lacks; a wrong version first, because that explains all else."""
    try:
        raw = _anything.decode(data)
    except Exception:
        return "header: not msgpack; not one of our messages"
    if not isinstance(raw, dict):
        return "header: not a map; not one of our messages"
    if raw.get("v", VERSION) != VERSION:
        return f"header: version {str(raw['v'])[:20]}; this receiver speaks version {VERSION}"
    return f"header: {error}"


def new_stream(source: str, host: str) -> int:
    """Make a stream id: 31 bits that name the source and 32 random ones, so that a restarted source is known again."""
    import xxhash

    name = xxhash.xxh32_intdigest(f"{host}\0{source}".encode()) >> 1
    return (max(name, 1) << 32) | secrets.randbits(32)


def same_source(a: int, b: int) -> bool:
    """Do two stream ids come from starts of one source?"""
    return a >> 32 == b >> 32 != 0
