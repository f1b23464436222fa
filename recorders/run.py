"""Open a run: finished, still being recorded, or cut short; one file or several parts.

`Run.open("data/2026-11-21/run_001")` reads what is there at that moment; nothing stays open. Tables come as pandas
DataFrames, frame numbers as they are in the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.experiment import Experiment
from engine.light import SLM_ROW
from engine.regions import part_of_frame
from engine.rows import ROW
from recorders.crop_parts import Crops
from recorders.join import accounting, joined_frames, lost_ranges
from recorders.metadata import read_group
from recorders.particles import NAME, particles_of
from recorders.parts import Part, RunError, opened, part_paths, read_parts, read_rows
from recorders.pictures import Pictures
from recorders.runfolder import RunFolder, of_same_run
from recorders.slm import read_slm
from recorders.streams import read_streams
from recorders.tables import EVENTS, EXTRA, FRAMES, PAUSED, Table, joined_text, once, were_written
from recorders.takes import takes_of
from recorders.tiff_pictures import Kept, TiffPictures
from recorders.told import Told, account_with, lost_with, told_of

GROUPS = ("acquisition_params", "tracking_config", "system_info", "processing_metrics")


class Run:
    """A run's recording. Properties are read when first asked for, and kept; `open` again to see more of a live run."""

    def __init__(self, first: Path) -> None:
        self.path = first

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open a run by its folder, or by its HDF5 file (any part of it).

        Raises RunError if there is no recording.
        """
        path = Path(path)
        if path.is_dir():
            found = sorted(path.glob("tracking_run_*.h5"), key=lambda p: (len(p.name), p.name))
            if not found:
                raise RunError(f"{path} holds no recording (tracking_run_….h5)")
            path = found[0]
        first = path.with_name(path.name.split(".part")[0] + ".h5") if ".part" in path.name else path
        if not part_paths(first):
            raise RunError(f"{path} does not exist")
        return cls(first)

    @property
    def parts(self) -> list[Part]:
        """What counts of each file, in order."""
        return self._parts

    @property
    def frames(self) -> Kept:
        """The images, where images were recorded: `frames[i]` is `(height, width)` of frame number i.

        From the HDF5 files, or from TIFF where there are none. Raises RunError if there are neither.
        """
        first = of_same_run(self.path, "images")
        if part_paths(first):
            return Pictures(first)
        with suppress(RunError):
            return TiffPictures(RunFolder(self.path.parent))
        raise RunError(
            f"{self.path.name} holds no images, only what was tracked in them. Where the camera software kept its "
            "files, the column file_name of frames_table names them."
        )

    @cached_property
    def kept_part(self) -> tuple[int, int, int, int]:
        """y0, y1, x0, x1 of what `frames` shows of the camera's frame (`record.image_region`; all of it by default).

        Positions in `/tracks` are in the camera's frame: in `frames[i]` a particle is at `(y - y0, x - x0)`.
        """
        return part_of_frame(self.settings.record.image_region, self.settings.camera.shape_hw)

    @property
    def crops(self) -> Crops:
        """Pictures of single particles, where they were recorded: `crops.table` says which, `crops[7]` is row 7's.

        Raises RunError if there are none.
        """
        return Crops(of_same_run(self.path, "crops"))

    @cached_property
    def tracks(self) -> pd.DataFrame:
        """One row a particle and frame, trackpy's names: goes into trackpy as it is."""
        return pd.DataFrame.from_records(self.tracks_array)

    @cached_property
    def particles(self) -> pd.DataFrame:
        """One row a particle: `first_frame`, `last_frame`, `count` of its rows, means of x, y, mass, size, ecc, signal.

        Of a run that goes on or was cut short it is counted from `/tracks`, block by block.
        """
        with opened(self._any) as file:
            there = NAME in file
        finished = self._finished(NAME) if there else None
        return _as_frame(particles_of(self._track_blocks()) if finished is None else finished).set_index("particle")

    @cached_property
    def frames_table(self) -> pd.DataFrame:
        """One row for every frame number, lost ones included."""
        return _as_frame(self.frames_array)

    @cached_property
    def events(self) -> pd.DataFrame:
        """What happened, when (our clock), at which frame; `json` is the text of the details."""
        entries = joined_text(once(np.concatenate([np.zeros(0, EVENTS), *self._cut("events")])))
        columns = ["t_ns", "frame", "kind", "json"]
        return pd.DataFrame(
            [[int(row["t_ns"]), int(row["frame"]), bytes(row["kind"]).decode(), text] for row, text in entries],
            columns=columns,
        )

    @cached_property
    def extra(self) -> dict[int, str]:
        """Free metadata of the source by frame number, as JSON text; frames without are not in it."""
        entries = joined_text(np.concatenate([np.zeros(0, EXTRA), *self._cut("extra")]))
        return {int(row["frame"]): text for row, text in entries}

    @cached_property
    def accounting(self) -> pd.DataFrame:
        """One row a step: in, out, lost, in_flight, counted from the table of frames.

        Of a run whose file was cut short (`told`) with what came after the cut.
        """
        if self.told is not None:
            return _as_frame(account_with(self.told)).set_index("step")
        finished = self._finished("accounting/steps")
        return _as_frame(accounting(self.frames_array) if finished is None else finished).set_index("step")

    @cached_property
    def lost(self) -> pd.DataFrame:
        """Every loss as a range of frame numbers, with step and cause; also those after the file was cut (`told`)."""
        finished = self._finished("accounting/lost")
        ranges = lost_ranges(self._parts) if finished is None else finished[were_written(finished)]
        return _as_frame(ranges if self.told is None else lost_with(self.told, ranges))

    @cached_property
    def told(self) -> Told | None:
        """What `run.json` says of a run whose file was cut short; None: the file is whole, or no more is known."""
        if not self.cut_short:
            return None
        with opened(self._any) as file:
            return told_of(self.path.parent, str(file.attrs["run_id"]))

    @cached_property
    def cut_short(self) -> bool:
        """Whether the file ends before the run did: its recorder was killed. Also while a run goes on."""
        with opened(list(part_paths(self.path).values())[-1]) as file:
            complete = bool(file["metadata/processing_metrics"].attrs["complete"])
            return not complete or "repaired_utc" in file.attrs

    @cached_property
    def paused(self) -> int:
        """How many frames came while recording was off."""
        if len(part_paths(self.path)) == 1:
            return int(self.metadata["processing_metrics"].get("frames_paused", 0))
        return int((self.frames_array["state_code"] == PAUSED).sum())

    @cached_property
    def takes(self) -> pd.DataFrame:
        """The takes of the run: number, name, first and last frame, and how many frames were recorded of it."""
        return takes_of(self.events, self.frames_array)

    @cached_property
    def streams(self) -> dict[str, pd.DataFrame]:
        """Streams of other instruments by name: `t_ns` (our clock, as in `/frames`) and a column a channel."""
        with opened(list(part_paths(self.path).values())[-1]) as file:
            if "streams" in file:
                return {name: _as_frame(dataset[...]) for name, dataset in file["streams"].items()}
        return {name: _as_frame(table) for name, (table, _) in read_streams(self.path.parent).items()}

    @cached_property
    def slm(self) -> pd.DataFrame:
        """What was commanded to the light, a row a trap and command (`engine.light`); empty in a run without."""
        with opened(list(part_paths(self.path).values())[-1]) as file:
            rows = file["slm"][...] if "slm" in file else read_slm(self.path.parent)
        return _as_frame(np.zeros(0, SLM_ROW) if rows is None else rows)

    @cached_property
    def settings(self) -> Experiment:
        """The experiment with which the run began."""
        with opened(self._any) as file:
            return Experiment.loads(file["metadata"].attrs["experiment_toml"], self.path.name)

    @cached_property
    def metadata(self) -> dict[str, dict[str, Any]]:
        """The groups of `/metadata` as dictionaries; `processing_metrics` is of the newest part."""
        with opened(self._any) as file:
            out = {name: read_group(file, name) for name in GROUPS}
        with opened(list(part_paths(self.path).values())[-1]) as file:
            return out | {"processing_metrics": read_group(file, "processing_metrics")}

    @cached_property
    def tracks_array(self) -> Table:
        """`/tracks` as a record array."""
        return np.concatenate([np.zeros(0, ROW), *self._track_blocks()])

    @cached_property
    def frames_array(self) -> Table:
        """`/frames` as a record array, `first_row` counted in `tracks_array`."""
        return joined_frames(self._parts) if self._parts else np.zeros(0, FRAMES)

    @cached_property
    def _parts(self) -> list[Part]:
        return read_parts(self.path)

    @property
    def _any(self) -> Path:
        return next(iter(part_paths(self.path).values()))

    def _track_blocks(self) -> Iterator[Table]:
        for part in self._parts:
            with opened(part.path) as file:
                yield from read_rows(file, "tracks", part.tracks)

    def _finished(self, name: str) -> Table | None:
        """A table of a run that ended in one file: what the recorder counted, without reading all frames again."""
        paths = part_paths(self.path)
        if len(paths) != 1:
            return None
        with opened(self._any) as file:
            if not int(file["metadata/processing_metrics"].attrs["complete"]):
                return None
            table: Table = file[name][...]
            return table

    def _cut(self, name: str) -> Iterator[Table]:
        """A table of each part, without what a later part did again."""
        starts = [int(part.table["frame"][0]) for part in self._parts[1:]]
        for part, end in zip(self._parts, [*starts, None]):
            with opened(part.path) as file:
                rows: Table = file[name][...]
            rows = rows[were_written(rows)]
            yield rows if end is None else rows[rows["frame"] < end]


def _as_frame(table: Table) -> pd.DataFrame:
    """A DataFrame with text instead of bytes."""
    out = pd.DataFrame.from_records(table)
    for name in table.dtype.names or ():
        if table.dtype[name].kind == "S":
            out[name] = [value.decode() for value in table[name].tolist()]
    return out
