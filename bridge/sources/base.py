"""What a source is: it gives frames in order, each with the camera's counter, and says what it could not read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec

from bridge.pictures import Pixels
from bridge.wire import Answer
from engine.frames import TimeSource


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """One frame of a source."""

    image: Pixels
    counter: int
    t_ns: int | None = None  # camera time on our clock, None if the source has none
    t_error_ns: int = 0
    time_source: TimeSource = TimeSource.HEADER
    file_name: str = ""  # without its folder
    path: Path | None = None  # a file of its own, which may be deleted once the frame is taken
    copy: bool = True  # False: `image` is never written again
    extra: dict[str, Any] | None = None
    header: dict[str, Any] = {}  # more that its header says: bits, exposure_us, … (`bridge.wire.FrameHeader`)


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A frame that the source cannot give."""

    counter: int | None  # None: not a frame of its own, only worth a line
    what: str  # the file
    why: str


class Source(Protocol):
    """A camera, a folder, a stack."""

    name: str  # the same at every start: a sender that starts again goes on where the last one was
    live: bool  # False: it waits as long as it must, and no frame of it is ever dropped
    waits: bool  # True: what is not sent yet stays where it is (files), and is never given up or dropped

    def frames(self, welcome: Answer) -> Iterator[Shot | Unreadable | None]:
        """Give the frames from counter `welcome.resume` on. None, at least every 0.1 s: nothing new yet."""
        ...

    def kind(self) -> tuple[tuple[int, int], str] | None:
        """(height, width) and type of its first frame, before any is sent; None: who knows.

        A side of 0, an empty type: as it is asked for.
        """
        ...

    def close(self) -> None:
        """Let go of files and threads."""
        ...


def name_of(kind: str, path: Path) -> str:
    """A name for a source on a disk; the end of a long path says more than its beginning."""
    return f"{kind} {path.resolve()}"[-200:]
