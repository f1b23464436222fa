"""The folder of a run: a new one for each, never one that exists; what lies in it and how it is called."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import MachineError
from engine.experiment import Experiment
from recorders.readme import readme

_RUN = re.compile(r"run_(\d{3,})$")
TRIES = 1000


@dataclass(frozen=True)
class RunFolder:
    """Names of everything that a run leaves."""

    path: Path

    @property
    def name(self) -> str:
        """ "run_001"; with the day (the folder above) it is unique in the data folder."""
        return self.path.name

    @property
    def hdf5(self) -> Path:
        """Tracks, frames, events; a second part of it is `tracking_run_001.part002.h5`."""
        return self.path / f"tracking_{self.name}.h5"

    @property
    def images(self) -> Path:
        """Camera frames; the tables' file has a link to them."""
        return self.path / f"images_{self.name}.h5"

    @property
    def crops(self) -> Path:
        """Pictures of single particles; the tables' file has a link to them."""
        return self.path / f"crops_{self.name}.h5"

    def tiff(self, frame: int) -> Path:
        """The TIFF file of a frame: ten thousand in a folder, which file systems and people can still list."""
        folder = self.path / "frames" / f"{frame - frame % 10_000:09d}"
        return folder / f"{self.name}_frame_{frame:09d}.tiff"

    @property
    def tiff_stack(self) -> Path:
        """All frames in one BigTIFF."""
        return self.path / f"{self.name}_frames.tiff"

    @property
    def csv(self) -> Path:
        return self.path / f"tracks_{self.name}.csv"

    @property
    def experiment(self) -> Path:
        """The settings as resolved."""
        return self.path / "experiment.toml"

    @property
    def json(self) -> Path:
        """What programs want to know of the run: versions, host, clocks, accounting, latencies."""
        return self.path / "run.json"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def readme(self) -> Path:
        return self.path / "README.txt"

    def write_json(self, content: dict[str, Any]) -> None:
        """Write `run.json`, whole or not at all; may be done again and again."""
        data = msgspec.json.format(msgspec.json.encode(content, enc_hook=_plain), indent=2) + b"\n"
        beside = self.json.with_name(self.json.name + ".new")
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.json)


def allot(data: Path, experiment: Experiment, now: datetime | None = None) -> RunFolder:
    """Make the folder of a new run with its `experiment.toml` and `README.txt`.

    `now`: local time, decides the day. Several runs may ask at once: `mkdir` decides.
    Raises MachineError if the data folder cannot be written.
    """
    day = data / (now or datetime.now()).strftime("%Y-%m-%d")
    try:
        day.mkdir(parents=True, exist_ok=True)
        folder = RunFolder(_make_next(day))
        folder.experiment.write_text(experiment.to_toml(), encoding="utf-8")
        folder.readme.write_text(readme(folder.name, experiment), encoding="utf-8")
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise MachineError(
            f"experiment.data: {data.absolute()} cannot be written: {why} ({error.filename}). "
            "Name another folder, or --set experiment.data=…"
        ) from None
    return folder


def of_same_run(tracking: Path, kind: str) -> Path:
    """The first file of another kind, "images" or "crops", of the run of `tracking_run_001.h5`.

    By that file's name: the folder may be called otherwise by now.
    """
    return tracking.with_name(tracking.name.replace("tracking_", f"{kind}_", 1))


def _make_next(day: Path) -> Path:
    taken = [int(match[1]) for entry in day.iterdir() if (match := _RUN.match(entry.name))]
    first = max(taken, default=0) + 1
    for number in range(first, first + TRIES):
        path = day / f"run_{number:03d}"
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise MachineError(f"{day}: no free name from run_{first:03d} on")


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):  # a number of numpy
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"run.json has no way to write {type(value).__name__}")
