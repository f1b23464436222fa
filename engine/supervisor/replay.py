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
from bridge.sources.reels import open_reel
from bridge.sources.replay import Replay, Still, UnreadableError
from engine.clocks import measure_utc_offset
from recorders.playback import DamagedError, Recording, is_recording

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


def open_replay(source: str, **options: Any) -> Replay:
    """A run, a stack or a folder of TIFF files as it is to be played; `options` are those of `Replay`.

    Raises SettingsError or RunError, in a sentence, if there is nothing to play.
    """
    path = Path(source).expanduser()
    reel = RecordingReel(Recording(path)) if is_recording(path) else open_reel(path)
    return Replay(reel, **options)


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
