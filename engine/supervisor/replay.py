"""Recorded frames as a source: the one place that knows recordings and the wire to the receiver.

`open_replay` is behind `ringtrack replay`; `main` is the process that sends when `ringtrack run --source RUN` tracks a
recording again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.send import COUNTERS, deliver
from bridge.sources import Source, open_source
from bridge.sources.reels import StackReel, open_reel
from bridge.sources.replay import Reel, Replay, Still, UnreadableError
from engine.clocks import measure_utc_offset
from recorders.playback import DamagedError, Recording, is_recording
from recorders.tiff_ome import pages_of

if TYPE_CHECKING:
    from engine.process import Job

__all__ = ["COUNTERS", "is_recording", "main", "open_any", "open_replay"]


class RecordingReel:
    """A `recorders.playback.Recording` as a `bridge.sources.replay.Reel`."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.name = recording.name
        self.counters, self.threads = recording.counters, recording.threads
        self.times_ns: NDArray[np.int64] | None = recording.times_ns

    def read(self, index: int) -> Still:
        try:
            frame = self.recording.read(index)
        except DamagedError as error:
            raise UnreadableError(self.recording.run.path.name, str(error)) from None
        return Still(
            image=frame.image, file_name=frame.file_name, time_source=frame.time_source, t_error_ns=frame.t_error_ns,
            extra=frame.extra, header=frame.header,
        )  # fmt: skip

    def close(self) -> None:
        self.recording.close()


class RecordedStackReel(StackReel):
    """A stack that ringtrack wrote: its pages know their frame numbers and times."""

    def __init__(self, path: Path, pages: list[tuple[int, int]]) -> None:
        """`pages`: frame number and camera time (UTC nanoseconds) of each."""
        super().__init__(path)
        table = np.array(pages, np.int64)
        self.counters = table[:, 0].copy()
        if (np.diff(table[:, 1]) > 0).all():
            self.times_ns = table[:, 1].copy()


def _reel_of(path: Path) -> Reel:
    if is_recording(path):
        return RecordingReel(Recording(path))
    if path.is_file():
        pages = [(page.about["frame"], int(page.about["time_utc_ns"])) for page in pages_of(path)]
        if pages:
            return RecordedStackReel(path, pages)
    return open_reel(path)


def open_replay(source: str, **options: Any) -> Replay:
    """A run, a stack or a folder of TIFF files as it is to be played; `options` are those of `Replay`.

    Raises SettingsError or RunError, in a sentence, if there is nothing to play.
    """
    return Replay(_reel_of(Path(source).expanduser()), **options)


def open_again(source: str, fps: float | None = None) -> Replay:
    """A run to be tracked again: as fast as it is taken, with the UTC times at which its frames were taken."""
    recording = Recording(Path(source).expanduser())
    start_ns = measure_utc_offset().from_utc_ns(recording.utc_ns)
    speed = 0.0
    if fps:  # so many a second, whatever they were
        times = recording.times_ns
        speed = fps * (times[-1] - times[0]) / 1e9 / max(1, len(times) - 1)
    return Replay(RecordingReel(recording), speed=speed, start_ns=start_ns)


def open_any(source: str, watch: bool = True) -> Source:
    """What `ringtrack run --source` takes: whatever `bridge.sources` knows, or a run."""
    if is_recording(Path(source).expanduser()):
        return open_again(source)
    return open_source(source, watch=watch)


def main(job: Job) -> int:
    """Send a recording from within the run that tracks it again."""
    options = dict(job.options)
    options.pop("watch", None)
    return deliver(job, open_again(options.pop("source"), options.pop("fps", None)))
