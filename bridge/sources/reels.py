"""Stacks and folders as reels: what `bridge.sources.replay` plays."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from bridge.sources.folder import Folder
from bridge.sources.replay import Still, UnreadableError
from bridge.sources.stack import Stack
from bridge.sources.tiff import NotWholeError, WrongKindError, read_frame
from engine.errors import SettingsError

HEAD_BYTES = 2048
_TIME = re.compile(rb'"time_utc_ns": (\d+)')


class StackReel:
    """The pages of a TIFF stack."""

    threads = 1

    def __init__(self, path: Path) -> None:
        self._stack = Stack(path)
        self.name = f"replay of {self._stack.name}"
        self.counters = np.arange(len(self._stack), dtype=np.int64)
        self.times_ns: NDArray[np.int64] | None = None
        self._one_at_a_time = threading.Lock()

    def read(self, index: int) -> Still:
        try:
            with self._one_at_a_time:
                return Still(image=self._stack.page(index), file_name=self._stack.path.name[-100:])
        except (NotWholeError, WrongKindError) as error:
            raise UnreadableError(f"{self._stack.path.name}, page {index}", str(error)) from None

    def close(self) -> None:
        self._stack.close()


class FolderReel:
    """The files of a folder; those that ringtrack wrote know their times (`time_utc_ns` in their description)."""

    threads = 2

    def __init__(self, path: Path) -> None:
        folder = Folder(path)
        self.name = f"replay of {folder.name}"
        self._files = [path for _, path in folder.files]
        self.counters = np.array([number for number, _ in folder.files], np.int64)
        self.times_ns = self._recorded_times()

    def read(self, index: int) -> Still:
        path = self._files[index]
        try:
            return Still(image=read_frame(path), file_name=path.name)
        except (NotWholeError, WrongKindError, OSError) as error:
            raise UnreadableError(path.name, str(error)) from None

    def close(self) -> None:
        """Nothing is held."""

    def _recorded_times(self) -> NDArray[np.int64] | None:
        """Camera times, if every file says its own; reading one tells whether the others are worth a look."""
        times = []
        for path in self._files:
            t_ns = _time_of(path)
            if t_ns is None:
                return None
            times.append(t_ns)
        found = np.array(times, np.int64)
        return found if (np.diff(found) > 0).all() else None


def _time_of(path: Path) -> int | None:
    """From the beginning of the file, where we write it (30 us; tifffile takes ten times as long for all its tags)."""
    try:
        with path.open("rb", buffering=0) as file:
            said = _TIME.search(file.read(HEAD_BYTES))
        if said:
            return int(said[1])
        with tifffile.TiffFile(path) as tif:
            return int(json.loads(tif.pages.first.description)["time_utc_ns"])
    except Exception:  # no TIFF, no description, no JSON, no time
        return None


def open_reel(path: Path) -> StackReel | FolderReel:
    """Find what can be played at a path. Raises SettingsError."""
    if path.is_dir():
        return FolderReel(path)
    if path.is_file():
        return StackReel(path)
    raise SettingsError(f"source: {path} is neither the folder of a run, nor a folder of TIFF files, nor a stack")
