"""What a run came to: the accounting by frame number, from the words that every commit leaves in shared memory.

Counters of processes are not used for it: a process that is killed between a commit and its counter would make them
lie. Pictures that were kept are such a count; what became of the frames does not hang on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from engine.accounting import CAUSE_WORDS, Cause, LostRange, Pictures, Step, merged
from engine.rings import Rings
from engine.shm.ledger import LedgerOverrunError
from engine.shm.status import quantiles_ms
from engine.supervisor.children import Child

FORCED = 130
"""Exit status of a run that was stopped by force."""
FRAME_RECORDERS = ("images", "tiff")
"""Recorders that keep camera frames, each in files of its own."""


class StepAccount(msgspec.Struct, frozen=True):
    """`in = out + lost + in flight` of one step."""

    step: str
    arrived: int
    out: int
    lost: int
    in_flight: int


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended and what it did; printed by `ringtrack run --json` and kept in `run.json`."""

    run_folder: str
    run_id: str
    status: int  # the exit status
    reason: str  # why it ended, in words; "" if as asked
    seconds: float  # from its start until its processes had ended
    frames_received: int
    frames_tracked: int
    frames_recorded: int
    frames_lost: int
    frames_paused: int  # came while recording was off
    fps: float  # published frames a second, from the first frame received to the last published
    latency_ms: dict[str, float]  # p50, p99, p99.9, max, from received to published
    features_mean: float  # rows of a frame, after the filters
    filtered: dict[str, int]  # features that each filter removed
    overflow: int  # rows beyond ring.max_particles
    accounting: list[StepAccount]
    lost: list[LostRange]
    pictures: list[Pictures]  # of each recorder of camera frames; not among `frames_lost`
    restarts: dict[str, int]  # processes that had to be started again
    held_ms: dict[str, float]  # how long the receiver waited for whom


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What the words of the rings say at one moment."""

    received: int
    published: int
    tally: dict[str, int]
    losses: list[LostRange]
    latency_ms: dict[str, float]
    first_received_ns: int
    last_published_ns: int
    pictures: dict[str, int]  # camera frames that each recorder of them counted as safe
    last_frame: int  # the last number that was published
    last_received: int  # the last number that came
    held_ns: dict[str, int]
    ledger_overrun: bool


class Recording(msgspec.Struct, frozen=True):
    """What the HDF5 file of the run says."""

    frames: int  # with their rows
    paused: int  # that came while recording was off
    last_frame: int  # the last number in it
    lost: list[LostRange]  # what was lost in tracking and what the recorder itself did not get
    lost_at: dict[str, int]  # frames lost at each step


def read_truth(rings: Rings, tally: dict[str, int], first_received_ns: int) -> Truth:
    """Read the rings before they are taken down."""
    closing = tally["closed"]
    newest, published = rings.frames.newest, rings.results.newest
    losses, overrun = _ledger(rings)
    last_place = published - closing
    last = rings.results.record(last_place)[0] if last_place >= 0 and rings.results.is_there(last_place) else None
    last_in = rings.frames.record(newest - closing)[0] if newest - closing >= 0 else None
    histogram = sum(rings.block(process.name).histogram() for process in rings.plan.of_kind("linker"))
    receiver = rings.block("receiver").counters()
    return Truth(
        received=newest + 1 - closing,
        published=published + 1 - closing,
        tally=tally,
        losses=losses,
        latency_ms={k: v for k, v in quantiles_ms(np.asarray(histogram)).items() if k != "count"},
        first_received_ns=first_received_ns,
        last_published_ns=0 if last is None else int(last["t_published_ns"]),
        pictures={
            process.name: rings.block(process.name).counters().get("frames_recorded", 0)
            for process in rings.plan.of_kind("recorder")
            if process.name in FRAME_RECORDERS
        },
        last_frame=-1 if last is None else int(last["frame"]),
        last_received=-1 if last_in is None else int(last_in["frame"]),
        held_ns={who: receiver.get(f"held_{who}_ns", 0) for who in ("trackers", "readers")},
        ledger_overrun=overrun,
    )


def summarise(
    truth: Truth,
    recording: Recording | None,
    children: Iterable[Child],
    *,
    run_folder: str,
    run_id: str,
    status: int,
    reason: str,
    seconds: float,
    pictures: list[Pictures],
) -> RunSummary:
    """Put the account together from the rings and from the file (None: nothing was recorded).

    Of a run that was stopped by force nothing is in flight: what was on its way is lost, and its cause says so.
    """
    tally, forced = truth.tally, status == FORCED
    lost = truth.losses + _unwritten(truth, recording, forced) + (recording.lost if recording else [])
    if forced and truth.last_received > truth.last_frame:
        words = CAUSE_WORDS[Cause.STOPPED_BY_FORCE]
        lost.append(LostRange(truth.last_frame + 1, truth.last_received, Step.TRACKER.name.lower(), words))
    busy_s = (truth.last_published_ns - truth.first_received_ns) / 1e9
    accounting = _account(truth, recording, forced)
    return RunSummary(
        run_folder=run_folder,
        run_id=run_id,
        status=status,
        reason=reason,
        seconds=round(seconds, 3),
        frames_received=truth.received,
        frames_tracked=tally["tracked"],
        frames_recorded=recording.frames if recording else 0,
        frames_lost=sum(step.lost for step in accounting),
        frames_paused=recording.paused if recording else 0,
        fps=round(truth.published / busy_s, 3) if busy_s > 0 and truth.published > 1 else 0.0,
        latency_ms=truth.latency_ms,
        features_mean=round(tally["rows"] / tally["tracked"], 3) if tally["tracked"] else 0.0,
        filtered={name.removeprefix("removed_"): n for name, n in tally.items() if name.startswith("removed_")},
        overflow=tally["overflow"],
        accounting=accounting,
        lost=merged(sorted(lost, key=lambda loss: (loss.first, loss.last))),
        pictures=pictures,
        restarts={child.name: child.restarts for child in children if child.restarts},
        held_ms={who: ns / 1e6 for who, ns in truth.held_ns.items()},
    )


def coalesced(records: np.ndarray[Any, np.dtype[Any]]) -> list[LostRange]:
    """LOSS records as ranges, neighbours of one step and cause put together."""
    return merged(
        LostRange(int(r["first"]), int(r["last"]), Step(r["step"]).name.lower(), CAUSE_WORDS[Cause(r["cause"])])
        for r in records
    )


def _ledger(rings: Rings) -> tuple[list[LostRange], bool]:
    ledger, count = rings.ledger, rings.ledger.count
    first = 0
    while True:
        try:
            return coalesced(ledger.read(first, count)), first > 0
        except LedgerOverrunError:
            first = max(first + 1, count - 60_000)


def _account(truth: Truth, recording: Recording | None, forced: bool) -> list[StepAccount]:
    def lost_at(step: Step) -> int:
        name = step.name.lower()
        listed = sum(loss.last - loss.first + 1 for loss in truth.losses if loss.step == name)
        # When the ledger came round its oldest records are in the file alone.
        return max(listed, recording.lost_at.get(name, 0)) if truth.ledger_overrun and recording else listed

    before_tracking = {step: lost_at(step) for step in (Step.CAMERA, Step.SENDER, Step.RECEIVER)}
    steps, arrived = [], truth.received + sum(before_tracking.values())
    for step, lost in before_tracking.items():
        steps.append(StepAccount(step.name.lower(), arrived, arrived - lost, lost, 0))
        arrived -= lost
    tracked, failed = truth.tally["tracked"], truth.tally["failed"]
    in_flight = arrived - tracked - failed
    if forced:
        failed, in_flight = failed + in_flight, 0
    steps.append(StepAccount("tracker", arrived, tracked, failed, in_flight))
    steps.append(StepAccount("linker", tracked, tracked, 0, 0))
    if recording:
        # The run has ended: what is not in the file will not come any more.
        wanted = tracked - recording.paused
        steps.append(StepAccount("recorder", wanted, recording.frames, wanted - recording.frames, 0))
    return steps


def _unwritten(truth: Truth, recording: Recording | None, forced: bool) -> list[LostRange]:
    """What was published after the recorder was given up: a range of numbers, those in `truth.losses` among them."""
    if recording is None or recording.last_frame >= truth.last_frame:
        return []
    cause = CAUSE_WORDS[Cause.STOPPED_BY_FORCE if forced else Cause.PART_STAYED_DEAD]
    return [LostRange(recording.last_frame + 1, truth.last_frame, Step.RECORDER.name.lower(), cause)]
