"""One owner for a folder whose files are deleted: a lock that dies with its process, and the owner's name in it.

`.ringtrack-owner` in the folder is held for as long as the owner lives, by the operating system (`flock`, on Windows
`msvcrt.locking`), and says who that is. Portable: this runs on the camera PC.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.errors import MachineError

NAME = ".ringtrack-owner"
_LOCKED_BYTE = 1 << 20  # beyond the text: on Windows a locked byte cannot be read


@contextmanager
def owned(folder: Path, what: str) -> Iterator[None]:
    """Be the owner of a folder. `what`: what one does there, for the message that a second one gets.

    Raises MachineError if it has an owner, naming it, or if it cannot be locked or written.
    """
    path = folder / NAME
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise MachineError(f"{folder} cannot be taken over: {os.strerror(error.errno or 5)} ({path.name})") from None
    try:
        try:
            _lock(handle)
        except OSError:
            raise MachineError(
                f"{folder} belongs to {_said(path)}. Two owners would delete each other's files: stop that "
                "one, or name another folder"
            ) from None
        about = {
            "what": what, "host": platform.node(), "user": _user(), "pid": os.getpid(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }  # fmt: skip
        with suppress(OSError):  # a full disk, which the owner may be here to empty: it stays "another process"
            os.ftruncate(handle, 0)
            os.write(handle, json.dumps(about).encode())
        yield
        with suppress(OSError):  # a drive that is gone
            os.ftruncate(handle, 0)
    finally:
        os.close(handle)  # and with it the lock; the file stays, so that nobody locks one that is being removed


def _said(path: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        about = json.loads(path.read_bytes())
        return (
            f"`{about['what']}` (process {about['pid']} of {about['user']} on {about['host']}, since {about['since']})"
        )
    return "another process"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "?"


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
