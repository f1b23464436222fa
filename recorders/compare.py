"""A recording that was tracked again, beside the results in its file: are they the same, and where do they differ?

Frames are matched by their place in the recording. Rows are compared byte by byte; where they differ, it is told
whether detection differs (which features, where) or identities alone. Where only a part of each frame was kept
(`record.image_region`), what was found within it counts, at its place in that part; the part's edges are edges of the
frame now, so features near them differ. Blocks of frames, so that a day of it fits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.regions import are_inside
from engine.rows import ROW
from recorders.blocks import track_blocks
from recorders.run import Run
from recorders.tables import LOST, Table

FRAMES_AT_ONCE = 256
DETECTED = [name for name in ROW.names or () if name not in ("frame", "particle", "vx", "vy", "age")]
SETTINGS = ("tracking", "linking", "correction", "ring")


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """How two recordings of the same frames compare."""

    recorded: str  # folder of the first
    version: str  # of ringtrack that made it
    again: str
    version_again: str
    frames: int  # in both
    frames_only_recorded: int
    frames_only_again: int
    frames_same: int  # rows are equal to the byte (but for the frame's number, where that is counted differently)
    frames_same_features: int  # the same features, whatever their identities
    rows: int
    rows_again: int
    first_difference: int  # frame number in the first; -1: none
    largest_shift_px: float  # of a feature, in frames with equally many
    settings: list[str]  # that differ: "tracking.diameter: 11, now 13"

    @property
    def same(self) -> bool:
        """Every byte of every frame."""
        return self.frames_same == self.frames and not (self.frames_only_recorded or self.frames_only_again)

    def lines(self) -> list[str]:
        """For people."""
        if self.same:
            out = [
                f"The results are those of {self.recorded}, byte for byte: {self.rows} rows in {self.frames} frames "
                f"(ringtrack {self.version_again}; recorded by {self.version})."
            ]
        else:
            out = [
                f"The results differ from those of {self.recorded} "
                f"(ringtrack {self.version_again}; recorded by {self.version}):",
                f"  frames compared      {self.frames}",
                f"  the same bytes       {self.frames_same}",
                f"  the same features    {self.frames_same_features}",
                f"  rows                 {self.rows}, now {self.rows_again}",
                f"  first difference     frame {self.first_difference}",
                f"  largest shift        {self.largest_shift_px:.3g} px, where a frame has as many features as before",
            ]
            if self.frames_only_recorded or self.frames_only_again:
                out.append(f"  only then, only now  {self.frames_only_recorded}, {self.frames_only_again} frames")
        return out + [f"  other settings       {text}" for text in self.settings]


def compare(recorded: Path, again: Path) -> Comparison:
    """Compare what is in the file of a run with what tracking its recorded frames again has given.

    Raises RunError if one of them cannot be read.
    """
    old, new = Run.open(recorded), Run.open(again)
    numbers, numbers_again = _matched(old, new)
    tally = _Tally()
    for start in range(0, len(numbers), FRAMES_AT_ONCE):
        part = np.s_[start : start + FRAMES_AT_ONCE]
        tally.add(
            numbers[part],
            _in_what_was_kept(old, _rows(old, numbers[part])),
            numbers_again[part],
            _rows(new, numbers_again[part]),
        )
    kept, tracked_again = _tracked(old, old.frames.numbers), _tracked(new, None)
    return Comparison(
        recorded=str(old.path.parent),
        version=_version(old),
        again=str(new.path.parent),
        version_again=_version(new),
        frames=len(numbers),
        frames_only_recorded=len(kept) - len(numbers),
        frames_only_again=len(tracked_again) - len(numbers),
        frames_same=tally.same,
        frames_same_features=tally.same_features,
        rows=tally.rows,
        rows_again=tally.rows_again,
        first_difference=tally.first,
        largest_shift_px=tally.shift,
        settings=_settings(old, new),
    )


class _Tally:
    def __init__(self) -> None:
        self.same = self.same_features = self.rows = self.rows_again = 0
        self.first, self.shift = -1, 0.0

    def add(self, numbers: Any, rows: Table, numbers_again: Any, rows_again: Table) -> None:
        """Count one block of frames."""
        for number, one, other in zip(numbers, _cut(rows, numbers), _cut(rows_again, numbers_again)):
            self.rows += len(one)
            self.rows_again += len(other)
            same = one.tobytes() == _numbered(other, number).tobytes()
            same_features = same or one[DETECTED].tobytes() == other[DETECTED].tobytes()
            self.same += same
            self.same_features += same_features
            if not same and self.first < 0:
                self.first = int(number)
            if not same_features and len(one) == len(other) and len(one):
                self.shift = max(self.shift, float(np.hypot(one["x"] - other["x"], one["y"] - other["y"]).max()))


def _matched(old: Run, new: Run) -> tuple[Any, Any]:
    """Frame numbers of both for the frames that both have: the file's counters lead from one to the other."""
    kept = _tracked(old, old.frames.numbers)
    found = _tracked(new, None)
    if not len(kept) or not len(found):
        return kept[:0], found[:0]
    from recorders.playback import Recording

    recording = Recording(old.path)
    table = new.frames_array
    table = table[table["state_code"] != LOST]
    by_counter = dict(zip(table["counter"].tolist(), table["frame"].tolist()))
    back = dict(zip(recording.numbers.tolist(), recording.counters.tolist()))
    pairs = [(n, by_counter[back[n]]) for n in kept.tolist() if n in back and back[n] in by_counter]
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _tracked(run: Run, among: Any) -> Any:
    table = run.frames_array
    numbers = table["frame"][table["state_code"] != LOST]
    return numbers if among is None else numbers[np.isin(numbers, among)]


def _rows(run: Run, numbers: Any) -> Table:
    """Rows of these frames, which are in order."""
    if not len(numbers):
        return np.zeros(0, ROW)
    blocks = [np.zeros(0, ROW), *track_blocks(run, int(numbers[0]), int(numbers[-1]))]
    return np.concatenate(blocks)


def _in_what_was_kept(run: Run, rows: Table) -> Table:
    """The rows within the part of the frames that was kept, with positions in it."""
    if not run.settings.record.image_region:
        return rows
    y0, y1, x0, x1 = run.kept_part
    rows = rows[are_inside(rows, y0, y1, x0, x1)]
    rows["y"] -= y0
    rows["x"] -= x0
    return rows


def _cut(rows: Table, numbers: Any) -> list[Table]:
    starts = np.searchsorted(rows["frame"], numbers)
    ends = np.searchsorted(rows["frame"], numbers, side="right")
    return [rows[a:b] for a, b in zip(starts, ends)]


def _numbered(rows: Table, number: int) -> Table:
    out = rows.copy()
    out["frame"] = number
    return out


def _version(run: Run) -> str:
    """Of the program that made it, from its run.json."""
    try:
        about = msgspec.json.decode((run.path.parent / "run.json").read_bytes())
        return str(about["versions"]["ringtrack"])
    except (OSError, KeyError, TypeError, msgspec.DecodeError):
        return "an unknown version"


def _settings(old: Run, new: Run) -> list[str]:
    out = []
    before, now = (msgspec.to_builtins(run.settings) for run in (old, new))
    for section in SETTINGS:
        for key, value in now.get(section, {}).items():
            was = before.get(section, {}).get(key)
            if was != value:
                out.append(f"{section}.{key}: {was}, now {value}")
    return out
