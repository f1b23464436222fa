"""`taken.csv`: files whose frames a run has taken, while nobody has archived them yet. Size, time, name: a line a file.

A sender that starts again would not send those once more, so who starts it again has to know.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

NAME = "taken.csv"
Stamp = tuple[int, int]  # size, time of the last change


class Taken:
    """The file of that name in an archive."""

    def __init__(self, archive: Path) -> None:
        self._path = archive / NAME

    def add(self, files: Iterable[tuple[Stamp, str]]) -> None:
        """Note them. A disk that does not take it is no reason to stop: such a file stays, and is told of."""
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as out:
            out.write("".join(f"{size},{mtime_ns},{name}\n" for (size, mtime_ns), name in files))

    def left_in(self, folder: Path) -> list[Path]:
        """Files of the folder that were noted and are still what they were; the others are noted no more."""
        try:
            noted = {_name_of(line): line for line in self._path.read_text(encoding="utf-8").splitlines()}
        except OSError:
            return []
        left = {}
        for name, line in noted.items():
            with contextlib.suppress(OSError):
                stat = (folder / name).stat()
                if line == f"{stat.st_size},{stat.st_mtime_ns},{name}":
                    left[folder / name] = line
        with contextlib.suppress(OSError):
            beside = self._path.with_name(NAME + ".part")
            beside.write_text("".join(f"{line}\n" for line in left.values()), encoding="utf-8")
            beside.replace(self._path)
        return list(left)


def _name_of(line: str) -> str:
    return line.split(",", 2)[-1]
