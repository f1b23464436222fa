"""A file gets its name when it can be read: a writer killed while it makes one leaves nothing under the name.

making = start(path)        a name beside, of which nothing is left over
…                           make the file, bring it to where readers can open it
give_name(making, path)     never one that is taken
"""

from __future__ import annotations

import os
from pathlib import Path


def start(path: Path) -> Path:
    """The name under which the file `path` is made; what is there is of a writer that died before it gave the real one.

    Raises FileExistsError, OSError.
    """
    making = path.with_name(path.name + ".making")
    if path.exists():
        raise taken(path)
    making.unlink(missing_ok=True)
    return making


def give_name(making: Path, path: Path) -> None:
    """Give the file its name. Raises FileExistsError."""
    try:
        path.hardlink_to(making)
    except FileExistsError:
        raise taken(path) from None
    except OSError:  # a file system without hard links
        if path.exists():
            raise taken(path) from None
        making.rename(path)
    making.unlink(missing_ok=True)


def taken(path: Path) -> FileExistsError:
    """The error that says so."""
    return FileExistsError(f"{path} is there already: a recording is never overwritten")


def settle(folder: Path) -> None:
    """What was named in a folder keeps its name in a power cut from now on. Raises OSError.

    Not every file system brings names to the disk together with what is in the files.
    """
    if os.name != "posix":  # Windows has no such call
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
