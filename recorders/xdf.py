"""Our streams in an XDF file, as LabRecorder writes it, back as the table that the HDF5 file has.

    from recorders.xdf import read_tracks
    tracks = read_tracks("recording.xdf")

`NAME_rows` gives all of `/tracks`, to the last digit. Without it there is `NAME_particles`: particles that had a
channel group, the fields that were streamed, in the stream's units (micrometres once the camera was calibrated).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import MachineError, SettingsError
from engine.rows import ROW

if TYPE_CHECKING:
    import pandas as pd

_GROUP = re.compile(r"P\d+_ObjectId")


def read_tracks(path: str | Path, name: str = "") -> pd.DataFrame:
    """One row a particle and frame, trackpy's names, types of `/tracks`; `attrs["units"]` by column.

    `name` is that of the streams (`lsl.name`, or the experiment's); it may be left out if the file has one run's alone.
    Raises SettingsError if there is no such file or stream, MachineError without pyxdf.
    """
    stream = _stream(Path(path), name)
    channels = stream["info"]["desc"][0]["channels"][0]["channel"]
    labels = [channel["label"][0] for channel in channels]
    values = np.asarray(stream["time_series"], float).reshape(-1, len(labels))
    if labels[1] != "ObjectId":
        labels, channels, values = _ungrouped(labels, channels, values)
    columns = ["frame", "particle", *labels[2:]]
    units = {column: channel["unit"][0] for column, channel in zip(columns, channels)}
    return _frame(columns, values, units)


def _stream(path: Path, name: str) -> Any:
    try:
        import pyxdf
    except ModuleNotFoundError:
        raise MachineError("reading XDF: pyxdf is missing. Try: pip install 'ringtrack[lsl]'") from None
    if not path.is_file():
        raise SettingsError(f"{path} is no file")
    streams = pyxdf.load_xdf(str(path), synchronize_clocks=False, dejitter_timestamps=False)[0]
    there = {stream["info"]["name"][0]: stream for stream in streams}
    for part in ("rows", "particles"):
        found = [one for one in there if one == f"{name}_{part}" or (not name and one.endswith(f"_{part}"))]
        if len(found) > 1:
            raise SettingsError(f"{path} has {' and '.join(found)}: name the one that is meant (name=)")
        if found:
            return there[found[0]]
    raise SettingsError(
        f"{path} has neither {name or 'NAME'}_rows nor {name or 'NAME'}_particles; streams in it: {', '.join(there)}"
    )


def _ungrouped(labels: list[str], channels: list[Any], values: Any) -> tuple[list[str], list[Any], Any]:
    """Channel groups as rows of frame, particle, fields, in the order of the groups; absent particles left out."""
    starts = [i for i, label in enumerate(labels) if _GROUP.fullmatch(label)]
    width = len(labels[1:]) // max(1, len(starts))
    blocks = values[:, 1:].reshape(len(values), len(starts), width)
    sample, group = np.nonzero(~np.isnan(blocks[:, :, 0]))
    rows = np.column_stack([values[sample, 0], blocks[sample, group]])
    fields = [label.partition("_")[2] for label in labels[2 : 1 + width]]
    return [labels[0], "particle", *fields], channels[: 1 + width], rows


def _frame(columns: list[str], values: Any, units: dict[str, str]) -> pd.DataFrame:
    import pandas as pd

    types = {name: ROW[name] for name in ROW.names or ()}
    table = pd.DataFrame({c: values[:, i].astype(types.get(c, np.float64)) for i, c in enumerate(columns)})
    table.attrs["units"] = units
    return table
