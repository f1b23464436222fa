"""The tables of a run as they lie on the disk: their columns, and how the rows come out of the rings.

`/tracks` has one row a particle and frame (`engine.rows.ROW`, trackpy's names) and no time of this run: the same
frames give the same bytes. `/frames` has one row for every frame number, lost ones included. Whole numbers are int64
or int32 (never unsigned: pandas and R have no room for uint64), text has a fixed length (a table with text of any
length cannot be read while it is written), a checksum is 16 hex digits. Rows that were reserved but never written say
`frame = -1`: a file torn by a power cut or `kill -9` shows where it was torn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.accounting import CAUSE_WORDS, Cause, Step
from engine.frames import FILE_NAME_BYTES, TimeSource
from engine.rows import FILTERS, ROW, State

Table = npt.NDArray[np.void]

LOST = 2
"""`state_code` of a frame that never came; 0 and 1 are `engine.rows.State`."""

PAUSED = 3
"""`state_code` of a frame that came while recording was off: a row of `/frames`, none of `/tracks`."""

STATE_WORDS = {State.TRACKED: "tracked", State.FAILED: "failed", LOST: "lost", PAUSED: "paused"}
STEP_WORDS = {step: step.name.lower() for step in Step}
TIME_SOURCE_WORDS = {source: source.name.lower() for source in TimeSource}
NO_CODE = -1
NO_TIME = -1
"""In a column of times: there is none, because the frame did not get there."""

TIMES = (
    "t_source_ns",  # camera time on the source's own clock (a stack: n / fps); velocities use this
    "t_camera_ns",  # the same on our clock; this and all that follow: CLOCK_MONOTONIC of the tracking machine
    "t_camera_error_ns",
    "t_sent_ns",
    "t_received_ns",
    "t_tracked_ns",
    "t_linked_ns",
    "t_published_ns",
)
_COPIED: tuple[str, ...] = (
    "stream",
    "trigger",
    "exposure_us",
    "gain",
    "settings",
    "bits",
    "high_aligned",
    "region_y",
    "region_x",
)
_COPIED += ("binning", "live", "saturated", "found", "rows", "overflow", "attempts")

FRAMES = np.dtype(
    [
        ("frame", "<i8"),  # never reused, proportional to time
        ("counter", "<i8"),  # the camera's own count; -1 if lost
        ("sequence", "<i4"),
        ("state", "S8"),  # tracked, failed, lost, paused
        ("step", "S8"),  # where it was lost; empty if it was not
        ("cause", "S32"),  # why, in words
        ("rows", "<i4"),  # its rows in /tracks
        ("first_row", "<i8"),  # the first of them
        ("found", "<i4"),  # features before the filters
        *[(f"removed_{name}", "<i4") for name in FILTERS],
        ("overflow", "<i4"),  # weakest rows cut beyond ring.max_particles
        ("saturated", "<i8"),  # pixels of the frame at the sensor's limit
        ("attempts", "<i4"),  # most attempts that a unit of its work took
        *[(name, "<i8") for name in TIMES],
        ("time_source", "S8"),  # hardware, header, file, arrival
        ("settings", "<i4"),  # version of the settings; 0 if lost
        ("exposure_us", "<f8"),
        ("gain", "<f8"),
        ("trigger", "<i8"),
        ("bits", "<i4"),
        ("high_aligned", "<i4"),
        ("region_y", "<i4"),
        ("region_x", "<i4"),
        ("binning", "<i4"),
        ("live", "<i4"),
        ("stream", "<i8"),
        ("checksum", "S16"),  # xxh3-64 of the raw pixels in hex, empty if none was sent
        ("file_name", f"S{FILE_NAME_BYTES}"),
        ("ledger", "<i8"),  # losses that had been noticed before this frame, counted from the start of the run
        ("state_code", "<i4"),
        ("step_code", "<i4"),
        ("cause_code", "<i4"),
    ]
)

RANGES = np.dtype(
    [
        ("first", "<i8"),  # frame numbers, both included
        ("last", "<i8"),
        ("sequence", "<i4"),
        ("step", "S8"),
        ("cause", "S32"),
        ("t_ns", "<i8"),  # when it was noticed
        ("step_code", "<i4"),
        ("cause_code", "<i4"),
    ]
)
"""`/accounting/lost`: every loss as a range of frame numbers."""

STEPS = np.dtype([("step", "S8"), ("in", "<i8"), ("out", "<i8"), ("lost", "<i8"), ("in_flight", "<i8")])
"""`/accounting/steps`: one row a step, in = out + lost + in_flight."""

TEXT_BYTES = 400
EVENTS = np.dtype(
    [
        ("t_ns", "<i8"),  # CLOCK_MONOTONIC
        ("frame", "<i8"),  # the frame at which it happened
        ("kind", "S24"),
        ("part", "<i4"),  # 0, or: this row goes on where the text of the one before ended
        ("json", f"S{TEXT_BYTES}"),
    ]
)
EXTRA = np.dtype([("frame", "<i8"), ("part", "<i4"), ("json", f"S{TEXT_BYTES}")])
"""`/extra`: free metadata that the source gave with a frame; no row for a frame without."""

TABLES = {"tracks": ROW, "frames": FRAMES, "events": EVENTS, "extra": EXTRA, "accounting/lost": RANGES}
"""The tables that grow."""


def unwritten(dtype: np.dtype[Any]) -> Table:
    """What stands where nothing was written: a row of zeros, with -1 as its first column."""
    row = np.zeros((), dtype)
    row[_first_column(dtype)] = -1
    return row


def were_written(rows: Table) -> npt.NDArray[np.bool_]:
    """Which rows are not `unwritten`, `(n,)`."""
    there: npt.NDArray[np.bool_] = rows[_first_column(rows.dtype)] >= 0
    return there


def _first_column(dtype: np.dtype[Any]) -> str:
    assert dtype.names is not None
    return dtype.names[0]


def frame_rows(metas: Table) -> Table:
    """`/frames` rows of frames that arrived, from their RESULT_META records; `first_row` is still to be filled in."""
    out = np.zeros(len(metas), FRAMES)
    for name in ("frame", "counter", "sequence", "file_name", "ledger", *TIMES, *_COPIED):
        out[name] = metas[name]
    for name in FILTERS:
        out[f"removed_{name}"] = metas[f"removed_{name}"]
    out["checksum"] = [b"%016x" % value if value else b"" for value in metas["checksum"].tolist()]
    out["time_source"] = _words(metas["time_source"], TIME_SOURCE_WORDS)
    failed = metas["state"] == State.FAILED
    out["state_code"] = metas["state"]
    out["state"] = _words(metas["state"], STATE_WORDS)
    out["step_code"] = out["cause_code"] = NO_CODE
    if failed.any():
        out["step_code"][failed] = Step.TRACKER
        out["cause_code"][failed] = Cause.FAILED_TWICE
        out["step"][failed] = STEP_WORDS[Step.TRACKER].encode()
        out["cause"][failed] = CAUSE_WORDS[Cause.FAILED_TWICE].encode()
    return out


def lost_rows(losses: Table, ledger: int) -> Table:
    """`/frames` rows of lost frames, one for each number of the ranges in `losses` (LOSS records, in order)."""
    counts = losses["last"] - losses["first"] + 1
    out = np.zeros(int(counts.sum()), FRAMES)
    starts = np.repeat(losses["first"] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    out["frame"] = starts + np.arange(len(out))
    out["sequence"] = np.repeat(losses["sequence"], counts)
    out["step_code"] = np.repeat(losses["step"], counts)
    out["cause_code"] = np.repeat(losses["cause"], counts)
    out["step"] = _words(out["step_code"], STEP_WORDS)
    out["cause"] = _words(out["cause_code"], CAUSE_WORDS)
    out["state_code"], out["state"] = LOST, STATE_WORDS[LOST].encode()
    out["ledger"] = ledger
    for name in TIMES:
        out[name] = NO_TIME
    out["counter"] = out["trigger"] = -1
    out["exposure_us"] = out["gain"] = np.nan
    return out


def range_rows(losses: Table) -> Table:
    """`/accounting/lost` rows of LOSS records."""
    out = np.zeros(len(losses), RANGES)
    for name in ("first", "last", "sequence", "t_ns"):
        out[name] = losses[name]
    out["step_code"], out["cause_code"] = losses["step"], losses["cause"]
    out["step"] = _words(losses["step"], STEP_WORDS)
    out["cause"] = _words(losses["cause"], CAUSE_WORDS)
    return out


def account(frames: int, lost_at: dict[int, int]) -> Table:
    """`/accounting/steps` of so many frame numbers of which so many were lost at each step."""
    out = np.zeros(len(Step), STEPS)
    remaining = frames
    for row, step in zip(out, Step):
        lost = lost_at.get(step, 0)
        row["step"] = STEP_WORDS[step].encode()
        row["in"], row["out"], row["lost"] = remaining, remaining - lost, lost
        remaining -= lost
    return out


def text_rows(dtype: np.dtype[Any], text: str, **columns: Any) -> Table:
    """Rows of `/events` or `/extra` for one text: as many as its length takes, cut between characters."""
    pieces: list[bytes] = []
    data = text.encode()
    while len(data) > TEXT_BYTES:
        cut = TEXT_BYTES
        while data[cut] & 0xC0 == 0x80:
            cut -= 1
        pieces.append(data[:cut])
        data = data[cut:]
    pieces.append(data)
    out = np.zeros(len(pieces), dtype)
    for name, value in columns.items():
        out[name] = value
    out["part"] = np.arange(len(pieces))
    out["json"] = pieces
    return out


def once(events: Table) -> Table:
    """`/events` rows without those that a recorder read from the inbox after its predecessor had written them."""
    keys = events[["t_ns", "kind", "part"]]
    _, first = np.unique(keys, return_index=True)
    kept: Table = events[np.sort(first)]
    return kept


def joined_text(rows: Table) -> list[tuple[np.void, str]]:
    """The first row and the whole text of each entry of `/events` or `/extra`."""
    out: list[tuple[np.void, str]] = []
    for row in rows:
        text = bytes(row["json"]).decode()
        if row["part"] and out:
            out[-1] = (out[-1][0], out[-1][1] + text)
        else:
            out.append((row, text))
    return out


def _words(codes: npt.NDArray[Any], words: dict[Any, str]) -> npt.NDArray[np.bytes_]:
    table: npt.NDArray[np.bytes_] = np.array([words[code].encode() for code in sorted(words)])
    return np.take(table, codes)
