"""Files are moved from a RAM disk to a disk with more room, by a thread: each is whole there before it is gone here."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections import deque
from pathlib import Path
from typing import Any

from recorders.naming import settle


class Mover:
    """A context manager. Its methods are for one thread."""

    def __init__(self, room: Path) -> None:
        """`room`: the folder that files are moved to, in folders of their own where a name is used again."""
        self.room = room
        self._asked: deque[tuple[Any, Path]] = deque()
        self._done: deque[tuple[Any, Path | None, str]] = deque()
        self._in_hand = 0
        self._bell = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="archive-mover", daemon=True)

    def __enter__(self) -> Mover:
        for torn in self.room.glob("*/*.part"):  # of one that died
            with contextlib.suppress(OSError):
                torn.unlink()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What is in hand is finished, what waits is not begun."""
        self._closing = True
        self._bell.set()
        self._thread.join()

    def left_there(self) -> list[Path]:
        """Files that were moved and not fetched again."""
        return sorted(path for path in self.room.glob("*/*") if path.suffix != ".part")

    def move(self, token: Any, path: Path) -> None:
        """Have a file moved; `results` gives its token back."""
        self._in_hand += 1
        self._asked.append((token, path))
        self._bell.set()

    def results(self) -> list[tuple[Any, Path | None, str]]:
        """What was done since the last call: token, where the file is now (None: where it was), and why."""
        out = []
        while self._done:
            out.append(self._done.popleft())
        self._in_hand -= len(out)
        return out

    @property
    def idle(self) -> bool:
        """All was done, and all results were fetched."""
        return not self._in_hand

    def _work(self) -> None:
        while not self._closing:
            self._bell.wait()
            self._bell.clear()
            while self._asked and not self._closing:
                token, path = self._asked.popleft()
                try:
                    self._done.append((token, moved_aside(path, self.room), ""))
                except OSError as error:
                    self._done.append((token, None, error.strerror or str(error)))


def moved_aside(path: Path, room: Path) -> Path:
    """Move a file to a disk with more room; it is whole there before it is gone here. Raises OSError."""
    number = 0
    while (target := room / str(number) / path.name).exists():
        number += 1
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(target.name + ".part")
    stat = path.stat()
    try:
        shutil.copyfile(path, beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        os.utime(beside, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        now = path.stat()
        if (now.st_size, now.st_mtime_ns) != (stat.st_size, stat.st_mtime_ns) or beside.stat().st_size != stat.st_size:
            raise OSError(None, "it changed while it was copied")
        beside.replace(target)
        try:
            settle(target.parent)
            path.unlink()
        except OSError:
            target.unlink()
            raise
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    return target
