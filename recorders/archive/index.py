"""`archive.csv`: which picture of an archive is which camera file; and finding one.

A line is written when its picture was verified, and is safe on the disk before the original is deleted. It is only ever
appended to; the last line of a picture counts. What a power cut or `kill -9` left of a line is cut off when the next
archiver opens it (its original is still there).
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
from numpy.typing import NDArray

from engine.errors import MachineError, RingtrackError
from engine.frames import FILE_NAME_BYTES
from recorders.archive.jxl import NoFrameError, checksum, unpacked

NAME = "archive.csv"
LONGEST_LINE = 1 << 16


class ArchiveError(RingtrackError):
    """There is no such archive, or no such picture in it."""

    exit_status = 2


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One archived camera file; the columns of `archive.csv` in order."""

    file_name: str  # as the camera software called it: `file_name` in /frames
    counter: int  # the number in its name, -1: none
    checksum: str  # xxh3-64 of the raw pixels in hex: `checksum` in /frames
    jxl: str  # the picture, from the archive's folder on, with "/"
    width: int
    height: int
    dtype: str
    bytes_raw: int  # of the pixels
    bytes_jxl: int
    effort: int
    time_utc_ns: int  # of the original file's last change; the picture has it too


COLUMNS = Row.__struct_fields__


def line(row: Row) -> str:
    """One line of the file."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([getattr(row, name) for name in COLUMNS])
    return out.getvalue()


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of an index, as they were written; what is no whole row is passed over."""
    with path.open(encoding="utf-8", newline="") as file:
        for entry in csv.DictReader(file):
            try:
                yield msgspec.convert(entry, Row, strict=False)
            except msgspec.ValidationError:
                continue


class Index:
    """The index of an archive that is being written. A context manager."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.rows: dict[str, Row] = {}  # by picture
        self.by_name: dict[str, list[Row]] = {}  # by file name: a camera may use a name again

    def __enter__(self) -> Index:
        """Raises ArchiveError (the file is another program's), MachineError."""
        header = (",".join(COLUMNS) + "\n").encode()
        try:
            self._file = self.path.open("ab")
            with self.path.open("rb") as there:
                begins = there.read(len(header))
            if begins != header[: len(begins)]:
                self._file.close()
                raise ArchiveError(f"{self.path} is no index of ringtrack: name another folder for the archive")
            self._cut_torn_line()
            if self._file.tell() == 0:
                self._file.write(header)
                self.flush()
        except OSError as error:
            raise MachineError(f"{self.path} cannot be written: {error.strerror}") from None
        for row in rows_of(self.path):
            self._take(row)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # of rows that are not on the disk `add` has told; their originals are there
            self._file.close()

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows; they are safe when this returns."""
        rows = list(rows)
        if rows:
            self._file.write("".join(map(line, rows)).encode())
            self.flush()
            for row in rows:
                self._take(row)

    def flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _take(self, row: Row) -> None:
        if (before := self.rows.get(row.jxl)) is not None:
            self.by_name[before.file_name].remove(before)
        self.rows[row.jxl] = row
        self.by_name.setdefault(row.file_name, []).append(row)

    def _cut_torn_line(self) -> None:
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = file.seek(max(0, size - LONGEST_LINE))
            whole = start + file.read().rfind(b"\n") + 1
        if whole != size:
            os.truncate(self.path, whole)
            self._file.seek(0, os.SEEK_END)


class Archive:
    """A finished (or growing) archive: pictures by file name, and by checksum where a name was used twice."""

    def __init__(self, folder: Path, rows: list[Row]) -> None:
        self.folder = folder
        self.rows = list({row.jxl: row for row in rows}.values())
        self._by_name: dict[str, list[Row]] = {}
        for row in self.rows:
            self._by_name.setdefault(_in_frames(row.file_name), []).append(row)

    @classmethod
    def open(cls, folder: str | Path) -> Archive:
        """Read its index. Raises ArchiveError."""
        folder = Path(folder)
        try:
            return cls(folder, list(rows_of(folder / NAME)))
        except OSError:
            raise ArchiveError(f"{folder} is no archive: it has no {NAME}") from None

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, file_name: str, checksum: str = "") -> Row:
        """What the index says of a camera file, by the columns of that name in `/frames`.

        Raises ArchiveError if it is not there, or if that name was used for several and no checksum tells which.
        """
        found = [
            row for row in self._by_name.get(_in_frames(file_name), []) if not checksum or row.checksum == checksum
        ]
        if len({row.checksum for row in found}) == 1:
            return found[-1]
        if not found:
            raise ArchiveError(f"{self.folder}: {file_name} {checksum} is not in the archive".replace("  ", " "))
        raise ArchiveError(
            f"{self.folder}: {len(found)} files were called {file_name}; give the checksum of the frame as well"
        )

    def path(self, row: Row) -> Path:
        return self.folder / PurePosixPath(row.jxl)

    def picture(self, file_name: str, checksum: str = "") -> NDArray[Any]:
        """The pixels, `(height, width)`, compared with the index's checksum. Raises ArchiveError."""
        row = self.row(file_name, checksum)
        path = self.path(row)
        try:
            image = unpacked(path.read_bytes())
        except OSError as error:
            raise ArchiveError(f"{path} cannot be read: {error.strerror}") from None
        except NoFrameError as error:
            raise ArchiveError(f"{path} is damaged: {error}") from None
        if _checksum(image) != row.checksum:
            raise ArchiveError(f"{path} is damaged: its pixels are not those that were archived")
        return image


def _in_frames(name: str) -> str:
    """A file's name as `/frames` has it: cut at the front where it is too long."""
    while len(name.encode()) > FILE_NAME_BYTES:
        name = name[1:]
    return name


_checksum = checksum
