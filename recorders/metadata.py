"""`/metadata` of a run's HDF5 file: what was set, on which machine, and how the recording went.

Four groups with plain attributes, which every HDF5 reader shows: `acquisition_params` (camera and notes),
`tracking_config` (tracking and linking), `system_info` (machine, versions, clocks), `processing_metrics` (counts,
brought up to date at every flush). All are made before the file may be read by others, because nothing can be added
after that; `processing_metrics` is then changed in place.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import h5py
import msgspec
import numpy as np

from engine.accounting import CAUSE_WORDS
from engine.experiment import Experiment
from recorders.tables import STATE_WORDS, STEP_WORDS, TIME_SOURCE_WORDS

FORMAT = 1
"""Version of the layout of the file; readers refuse a newer one."""

METRICS: dict[str, type] = {
    "frames_recorded": int,  # rows of /frames of frames that arrived
    "frames_paused": int,  # rows of /frames of frames that came while recording was off
    "frames_lost": int,  # rows of /frames of frames that did not, and of those whose tracking failed
    "rows": int,  # rows of /tracks
    "flushes": int,
    "first_frame": int,  # first and last frame number of this file, -1 while there is none
    "last_frame": int,
    "latency_mean_ms": float,  # from received to published
    "latency_max_ms": float,
    "complete": int,  # 1 once the file was closed at the end of its run
}


@dataclass(frozen=True)
class About:
    """What a file says about its run from the first byte on."""

    experiment: Experiment
    run_id: str  # 16 hex digits
    run_name: str  # "run_001"
    part: int = 1  # 1, or: a recorder died and this is its successor's file
    utc_offset_ns: int = 0  # UTC = CLOCK_MONOTONIC + this
    system: dict[str, str | int | float] = field(default_factory=dict)  # further lines of system_info


def write_about(file: h5py.File, about: About) -> None:
    """Make `/metadata` and the attributes of the file itself."""
    file.attrs.update(ringtrack_format=FORMAT, run=about.run_name, run_id=about.run_id, part=about.part, parts=1)
    settings = msgspec.to_builtins(about.experiment)
    metadata = file.create_group("metadata")
    metadata.attrs["experiment_toml"] = about.experiment.to_toml()
    camera = {"name": settings["experiment"]["name"], **settings["camera"]}
    _write(metadata.create_group("acquisition_params"), camera)
    _write(file.create_group("metadata/acquisition_params/notes"), settings["notes"])
    tracking = {**settings["tracking"], **settings["linking"], "max_particles": settings["ring"]["max_particles"]}
    _write(metadata.create_group("tracking_config"), {**tracking, "hash": about.experiment.version_hash()})
    _write(metadata.create_group("system_info"), {**_machine(about.utc_offset_ns), **about.system})
    _write(metadata.create_group("processing_metrics"), {name: kind(0) for name, kind in METRICS.items()})
    words: dict[str, Mapping[Any, str]] = {
        "state": STATE_WORDS,
        "step": STEP_WORDS,
        "cause": CAUSE_WORDS,
        "time_source": TIME_SOURCE_WORDS,
    }
    for name, table in words.items():
        group = metadata.create_group(f"codes/{name}")
        _write(group, {word: int(code) for code, word in table.items()})


def write_metrics(file: h5py.File, metrics: dict[str, int | float]) -> None:
    """Bring `processing_metrics` up to date, in place; allowed while others read the file."""
    attributes = file["metadata/processing_metrics"].attrs
    for name, value in metrics.items():
        attributes.modify(name, METRICS[name](value))


def read_group(file: h5py.File, name: str) -> dict[str, Any]:
    """A group of `/metadata` as a dictionary of plain Python values; groups within as dictionaries."""
    group = file[f"metadata/{name}"]
    out = {key: value.item() if isinstance(value, np.generic) else value for key, value in group.attrs.items()}
    return out | {key: read_group(file, f"{name}/{key}") for key in group}


def _write(group: h5py.Group, values: dict[str, Any]) -> None:
    for name, value in values.items():
        group.attrs[name] = int(value) if isinstance(value, bool) else value


def _machine(utc_offset_ns: int) -> dict[str, str | int]:
    return {
        "host": socket.gethostname(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count() or 0,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "h5py": h5py.version.version,
        "hdf5": h5py.version.hdf5_version,
        "utc_offset_ns": utc_offset_ns,
        "made_utc": datetime.now(UTC).isoformat(timespec="microseconds"),
    }
