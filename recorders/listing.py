"""The runs under a folder: what `run.json` and the settings of each say. No recording is opened."""

from __future__ import annotations

import os
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import SettingsError


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    folder: str
    name: str  # experiment.name
    started_utc_ns: int  # 0: not known
    seconds: float  # -1: not known
    frames: int  # received; -1: not known
    lost: int  # -1: not known
    bytes: int  # of all its files
    ended: str  # "in order", "status 4", "goes on or was cut short", "run.json is damaged"
    version: str


def listed(data: Path) -> list[Listed]:
    """All runs under a folder, oldest first. Raises SettingsError if there is no such folder."""
    if not data.is_dir():
        raise SettingsError(f"{data.absolute()} is no folder; runs are under experiment.data of their settings")
    found = [_read(path.parent) for path in data.rglob("run.json")]
    return sorted(found, key=lambda run: (run.started_utc_ns, run.folder))


def _read(folder: Path) -> Listed:
    about: dict[str, Any] = {}
    ended = "goes on, or was cut short"
    try:
        about = msgspec.json.decode((folder / "run.json").read_bytes(), type=dict)
    except (OSError, msgspec.MsgspecError):
        ended = "run.json is damaged"
    summary = about.get("summary") or {}
    if summary:
        status = int(summary.get("status", 0))
        ended = "in order" if status == 0 else f"status {status}: {summary.get('reason', '')}"
    return Listed(
        folder=str(folder),
        name=_name(folder),
        started_utc_ns=int(about.get("started_utc_ns", 0)),
        seconds=float(summary.get("seconds", -1)),
        frames=int(summary.get("frames_received", -1)),
        lost=int(summary.get("frames_lost", -1)),
        bytes=_size(folder),
        ended=ended,
        version=str(about.get("versions", {}).get("ringtrack", "")),
    )


def _size(folder: Path) -> int:
    """Bytes of all files; those of a run that goes on come, go and get their names meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(parent, name).stat().st_size
    return total


def _name(folder: Path) -> str:
    try:
        with (folder / "experiment.toml").open("rb") as file:
            return str(tomllib.load(file)["experiment"]["name"])
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError):
        return ""
