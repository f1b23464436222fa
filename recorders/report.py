"""What `ringtrack inspect RUN` says of a run, for people and for programs."""

from __future__ import annotations

import msgspec

from engine.accounting import LostRange, Pictures

SHOWN = 12
"""Losses shown in the text; the JSON has them all."""


class StepAccount(msgspec.Struct, frozen=True, rename={"in_": "in"}):
    """in = out + lost + in flight."""

    step: str
    in_: int
    out: int
    lost: int
    in_flight: int


class SettingsStretch(msgspec.Struct, frozen=True):
    """Frames that were tracked with one version of the settings."""

    version: int
    first: int
    last: int
    frames: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `ringtrack inspect` says of a run."""

    path: str
    run: str
    run_id: str
    name: str
    state: str  # "finished", "being recorded", "cut short", "repaired"
    parts: int
    bytes: int
    frames_recorded: int
    frames_paused: int  # came while recording was off
    frames_lost: int
    first_frame: int
    last_frame: int
    sequences: int
    seconds: float  # of camera time from the first frame to the last
    fps: float  # measured from camera times; 0 if there are too few frames
    images: int  # camera frames in the HDF5 files
    images_compared: int  # of them found equal to the sender's checksum, or not
    tiffs: int  # camera frames in TIFF files, or in a stack
    tiffs_compared: int  # of them found equal to the sender's checksum, or not
    pictures: list[Pictures]  # of each recorder of camera frames: in its files, and what it was too slow for
    crops: int  # pictures of single particles, each read and compared with its checksum
    rows: int
    particles: int
    features_mean: float
    removed: dict[str, int]  # features that each filter removed
    overflow: int
    latency_ms: dict[str, float]  # from received to published
    accounting: list[StepAccount]
    losses: list[LostRange]
    settings: list[SettingsStretch]
    events: dict[str, int]
    faults: list[str]
    notes: list[str]

    @property
    def whole(self) -> bool:
        """Nothing is wrong with the tables."""
        return not self.faults

    def json(self) -> str:
        """The report for programs, one JSON object."""
        return msgspec.json.encode(self).decode()

    def text(self) -> str:
        """The report for people."""
        lines = [
            f"{self.run} ({self.name})  {self.state}  {self.path}",
            f"  {self.parts} file{'s' * (self.parts > 1)}, {self.bytes / 1e6:.1f} MB, run id {self.run_id}",
            f"  frames    {self.first_frame} to {self.last_frame}: {self.frames_recorded} recorded, "
            + (f"{self.frames_paused} while recording was off, " if self.frames_paused else "")
            + f"{self.frames_lost} lost, {self.sequences} sequence{'s' * (self.sequences != 1)}, "
            f"{self.seconds:.1f} s at {self.fps:.4g} frames/s",
            f"  tracks    {self.rows} rows, {self.particles} particles, {self.features_mean:.1f} a frame"
            + (f", {self.overflow} cut beyond ring.max_particles" if self.overflow else ""),
            "  removed   " + (", ".join(f"{name} {n}" for name, n in self.removed.items() if n) or "nothing"),
        ]
        if self.images:
            lines.append(f"  images    {self.images}, all decoded, {self.images_compared} compared by checksum")
        if self.tiffs:
            lines.append(f"  TIFF      {self.tiffs}, all decoded, {self.tiffs_compared} compared by checksum")
        lines += [f"  {pictures.recorder:<9} {pictures.words()}" for pictures in self.pictures if pictures.lost]
        if self.crops:
            lines.append(f"  crops     {self.crops}, all decoded and compared by checksum")
        if self.latency_ms:
            lines.append("  latency   " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in self.latency_ms.items()))
        lines += [f"  settings  version {s.version}: frames {s.first} to {s.last}" for s in self.settings]
        lines += [f"  events    {kind}: {count}" for kind, count in self.events.items()]
        lines.append("  step            in        out       lost  in flight")
        lines += [f"  {s.step:<9}{s.in_:>9}{s.out:>11}{s.lost:>11}{s.in_flight:>11}" for s in self.accounting]
        for loss in self.losses[:SHOWN]:
            numbers = f"{loss.first}" if loss.first == loss.last else f"{loss.first} to {loss.last}"
            lines.append(f"  lost at {loss.step}: frame {numbers} ({loss.cause})")
        if len(self.losses) > SHOWN:
            lines.append(f"  … and {len(self.losses) - SHOWN} more ranges: --json lists them all")
        lines += [f"  note: {note}" for note in self.notes]
        lines += [f"  FAULT: {fault}" for fault in self.faults] or ["  the tables agree with each other"]
        return "\n".join(lines)
