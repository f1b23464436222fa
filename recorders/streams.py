"""Streams of numbers from other instruments (laser power, piezo, temperature): from a run's folder into its file.

While a run goes on, `streams/<name>.rows` is appended to (records of `t_ns` int64 on our clock, then one float64 a
channel) and `streams/<name>.json` says name, labels and units. At the end each becomes a table `/streams/<name>` with
a column for each channel. Half a record at the end, of a process that died, is left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from recorders.tables import Table

FOLDER = "streams"


def read_streams(run_folder: Path) -> dict[str, tuple[Table, dict[str, Any]]]:
    """Tables and descriptions (name, labels, units) of a run's folder, by the name of the file."""
    found = {}
    for described in sorted((run_folder / FOLDER).glob("*.json")):
        try:
            about = json.loads(described.read_text())
            labels = [str(label) for label in about["labels"]]
        except (ValueError, KeyError, TypeError):
            continue  # its writer died while it wrote this: there are no rows yet
        dtype = np.dtype([("t_ns", "<i8"), *((name, "<f8") for name in _columns(labels))])
        rows = described.with_suffix(".rows")
        data = rows.read_bytes() if rows.exists() else b""
        whole = len(data) - len(data) % dtype.itemsize
        found[described.stem] = np.frombuffer(data[:whole], dtype), about
    return found


def write_streams(file: h5py.File, run_folder: Path) -> None:
    """Put them into `/streams`, in place of what is there."""
    for name, (table, about) in read_streams(run_folder).items():
        path = f"{FOLDER}/{name}"
        if path in file:
            del file[path]
        dataset = file.create_dataset(path, data=table)
        dataset.attrs["name"] = about["name"]
        dataset.attrs["labels"], dataset.attrs["units"] = about["labels"], about["units"]
        dataset.attrs["t_ns"] = "nanoseconds of the clock of /frames t_camera_ns"


def _columns(labels: list[str]) -> list[str]:
    """Labels as names of columns: none empty, none twice, none "t_ns"."""
    taken = {"t_ns"}
    out = []
    for i, label in enumerate(labels):
        name = label or f"channel{i}"
        while name in taken:
            name += "_"
        taken.add(name)
        out.append(name)
    return out
