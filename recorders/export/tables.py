"""Tracks as tables of other programs, a block of rows at a time: memory does not grow with the recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recorders.csv import COLUMNS, HEADER
from recorders.export import Progress
from recorders.export.selection import Clock, Selection
from recorders.run import Run
from recorders.tables import Table


def write_csv(run: Run, path: Path, selection: Selection, progress: Progress) -> None:
    """The columns of the live CSV: camera time in UTC seconds, point as the decimal mark, no comments."""
    clock = Clock(run)

    def block(rows: Table) -> pd.DataFrame:
        frame = pd.DataFrame({name: rows[name] for name in COLUMNS}).rename(columns={"particle": "particle_id"})
        us = clock.utc_us(rows["frame"])
        frame["timestamp"] = [f"{value // 1_000_000}.{value % 1_000_000:06d}" for value in us.tolist()]
        for name in ("x", "y"):
            frame[name] = [f"{value:.6f}" for value in frame[name].tolist()]
        return frame

    _lines(run, path, selection, progress, HEADER, block)


def write_napari(run: Run, path: Path, selection: Selection, progress: Progress) -> None:
    """A layer of points: axis-0 is the frame, axis-1 is y, axis-2 is x; the rest are properties."""

    def block(rows: Table) -> pd.DataFrame:
        out = pd.DataFrame({"axis-0": rows["frame"], "axis-1": rows["y"], "axis-2": rows["x"]})
        for name in ("particle", "mass", "size", "ecc", "signal", "vx", "vy"):
            out[name] = rows[name]
        return out

    header = "index,axis-0,axis-1,axis-2,particle,mass,size,ecc,signal,vx,vy"
    _lines(run, path, selection, progress, header, block, numbered=True)


def write_trackmate(run: Run, path: Path, selection: Selection, progress: Progress) -> None:
    """TrackMate's table of spots: a name, a label, a short label and a unit over each column.

    Lengths are micrometres where the run knows how large a pixel is, else pixels. The radius is half the diameter that
    was tracked with.
    """
    clock = Clock(run)
    pixel_um = run.settings.camera.pixel_um
    scale, unit = (pixel_um, "micron") if pixel_um else (1.0, "pixel")
    radius = run.settings.tracking.diameter / 2 * scale
    columns = [
        ("LABEL", "Label", "Label", ""), ("ID", "Spot ID", "Spot ID", ""), ("TRACK_ID", "Track ID", "Track ID", ""),
        ("QUALITY", "Quality", "Quality", "(quality)"), ("POSITION_X", "X", "X", f"({unit})"),
        ("POSITION_Y", "Y", "Y", f"({unit})"), ("POSITION_Z", "Z", "Z", f"({unit})"), ("POSITION_T", "T", "T", "(sec)"),
        ("FRAME", "Frame", "Frame", ""), ("RADIUS", "Radius", "R", f"({unit})"),
        ("VISIBILITY", "Visibility", "Visibility", ""),
        ("TOTAL_INTENSITY_CH1", "Sum intensity ch1", "Sum ch1", "(counts)"),
    ]  # fmt: skip
    header = "\n".join(",".join(column[line] for column in columns) for line in range(4))
    count = 0

    def block(rows: Table) -> pd.DataFrame:
        nonlocal count
        ids = np.arange(count, count + len(rows))
        count += len(rows)
        return pd.DataFrame({
            "LABEL": [f"ID{number}" for number in ids.tolist()], "ID": ids, "TRACK_ID": rows["particle"],
            "QUALITY": rows["signal"], "POSITION_X": rows["x"] * scale, "POSITION_Y": rows["y"] * scale,
            "POSITION_Z": 0.0, "POSITION_T": clock.seconds(rows["frame"]), "FRAME": rows["frame"], "RADIUS": radius,
            "VISIBILITY": 1, "TOTAL_INTENSITY_CH1": rows["mass"],
        })  # fmt: skip

    _lines(run, path, selection, progress, header, block)


def write_parquet(run: Run, path: Path, selection: Selection, progress: Progress) -> None:
    """All columns of `/tracks` with their types, and `t_s`: camera time after the first frame. Zstandard."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    clock, total = Clock(run), selection.count(run)
    writer = None
    try:
        for rows, done in selection.blocks(run):
            arrays = {name: pa.array(np.ascontiguousarray(rows[name])) for name in rows.dtype.names or ()}
            arrays["t_s"] = pa.array(clock.seconds(rows["frame"]))
            table = pa.table(arrays)
            if writer is None:
                about = {b"ringtrack": str(run.path.parent.name).encode(), b"settings": run.settings.to_toml().encode()}
                writer = pq.ParquetWriter(path, table.schema.with_metadata(about), compression="zstd")
            writer.write_table(table.replace_schema_metadata(writer.schema.metadata))
            progress(done, total)
        if writer is None:  # a run without a row is a table without a row
            pq.write_table(pa.table({name: [] for name in ("frame", "particle", "x", "y")}), path)
    finally:
        if writer is not None:
            writer.close()


def write_trackpy(run: Run, path: Path, selection: Selection, progress: Progress) -> None:
    """What `trackpy.PandasHDFStoreSingleNode` opens: one table, `FrameData`, that can be asked for single frames."""
    total = selection.count(run)
    store: Any = pd.HDFStore(path, "w", complevel=0)
    with store:
        for rows, done in selection.blocks(run):
            store.append("FrameData", pd.DataFrame.from_records(rows), data_columns=["frame", "particle"], index=False)
            progress(done, total)
        if "FrameData" in store:
            store.create_table_index("FrameData", columns=["frame", "particle"], optlevel=6, kind="medium")


def _lines(
    run: Run, path: Path, selection: Selection, progress: Progress, header: str, block: Any, numbered: bool = False
) -> None:
    """A text file: the header, then block after block."""
    total, start = selection.count(run), 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(header + "\n")
        for rows, done in selection.blocks(run):
            frame = block(rows)
            if numbered:
                frame.index = pd.RangeIndex(start, start + len(frame))
                start += len(frame)
            frame.to_csv(file, header=False, index=numbered, float_format="%.9g", lineterminator="\n")
            progress(done, total)
