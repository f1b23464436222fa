"""The receiver process: frames from the wire into the ring.

It goes on exactly where a killed one stopped. The last counter that is accounted for is that of the ring's newest frame
or of the ledger's newest record, whichever is later. A ledger record does not name camera counter and stream, so they
are noted in this process's status block, which outlives it, *before* the record is appended:

1. write what will be known into the note (of two) for the record's number   the record is not there: nobody looks
2. append the record: the commit                                            the note for it is there
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from bridge.intake import Intake, Known, Lost
from bridge.pictures import Pixels
from bridge.reception import COUNTERS as RECEPTION_COUNTERS
from bridge.reception import Expected, NoSlot, Reception
from bridge.wire import FrameHeader
from engine.accounting import Step
from engine.clocks import NS, boot_id, monotonic_ns
from engine.frames import EXTRA_BYTES, FILE_NAME_BYTES, Kind, TimeSource
from engine.shm.frame_ring import Blocked, Claim, FrameWriter
from engine.shm.ledger import LedgerOverrunError

if TYPE_CHECKING:
    from engine.process import Job

_NOTE = ("stream", "counter", "sequence", "frame")
WAITED = (
    "held_trackers_ns",  # how long it waited for room, and for whom
    "held_readers_ns",
    "let_go",  # lossless readers that held the ring too long
)
COUNTERS = (
    *RECEPTION_COUNTERS,
    *WAITED,
    *(f"note{i}_{name}" for i in (0, 1) for name in _NOTE),  # see the module
    "note_bye",  # the stream with which the source ended
)
TICK_S = 0.1
UNKNOWN_ERROR_NS = 10 * NS
"""Error of a camera time whose clock is not known yet: it stands for "some time before it arrived"."""
REMEMBERED_LOSSES = 1000
NAN = float("nan")


def main(job: Job) -> int:
    """Receive until told to stop; the last act is the closing place."""
    store = RingStore(job)
    if store.is_closed:
        return 0  # the one before had got that far
    camera = job.experiment.camera
    expected = Expected(
        shape=(camera.height, camera.width), dtype=camera.dtype, fps=camera.fps,
        run_id=job.run_id, incarnation=job.incarnation, boot_id=boot_id(),
    )  # fmt: skip
    status = job.status
    with Reception(
        camera.listen, expected, store.intake(), store, status.count, job.log, encrypt=camera.encrypt
    ) as reception:
        job.log("info", f"listening on {reception.address}")
        status.ready()
        while not job.stopping:
            store.prepare()
            reception.step(int(TICK_S * 1000))
            status.beat()
    store.close()
    return 0


class RingStore:
    """The frame ring and the ledger, as the reception sees them."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._writer: FrameWriter = job.frame_writer()
        self._claim: Claim | None = None
        self._fps = job.experiment.camera.fps
        self._bits = job.experiment.camera.bits
        self._high_aligned = job.experiment.camera.high_aligned
        counters = job.status.counters()
        self._waited = {name: counters[name] for name in WAITED}  # by those before this one

    # ---- going on where another stopped

    def intake(self) -> Intake:
        """The receiver's memory, from what outlived the last one."""
        newest = self._writer.last_meta()
        known, heard_ns = None, 0
        if newest is not None:
            one = newest[0]
            known = Known(int(one["stream"]), int(one["counter"]), int(one["sequence"]), int(one["frame"]))
            heard_ns = int(one["t_received_ns"])
        noted = self._noted()
        if noted is not None and (known is None or noted.frame > known.frame):
            known = noted
        intake = Intake(known, heard_ns)
        ended = self._job.status.counters()["note_bye"]
        if ended and (known is None or known.stream == ended):
            intake.close(ended)
        if known is not None:
            self._remember_losses(intake, known)
        return intake

    @property
    def is_closed(self) -> bool:
        newest = self._writer.last_meta()
        return newest is not None and int(newest[0]["kind"]) == Kind.CLOSING

    def _noted(self) -> Known | None:
        count = self._job.ledger.count
        if count == 0:
            return None
        counters = self._job.status.counters()
        stream, counter, sequence, frame = (counters[f"note{count % 2}_{name}"] for name in _NOTE)
        return Known(stream, counter, sequence, frame)

    def _remember_losses(self, intake: Intake, known: Known) -> None:
        ledger = self._job.ledger
        try:
            records = ledger.read(max(0, ledger.count - REMEMBERED_LOSSES), ledger.count)
        except LedgerOverrunError:
            return
        for one in records[(records["step"] == Step.RECEIVER) & (records["sequence"] == known.sequence)]:
            intake.remember_lost(int(one["first"]), int(one["last"]), one["cause"])

    def prepare(self) -> None:
        """Have a slot ready before the next frame comes."""
        if self._claim is None:
            self._claim = self._writer.prepare()

    # ---- Store

    def claim(self, live: bool) -> Pixels | NoSlot:
        if self._claim is not None:
            return self._claim.pixels  # made ready, or the last frame was not fit to be published
        job = self._job
        while not job.stopping:
            found = self._writer.claim(TICK_S, live, job.status.beat)
            self._tell_of_waiting()
            if isinstance(found, Claim):
                self._claim = found
                return found.pixels
            if live and found is Blocked.TRACKERS:
                return NoSlot.FULL
            job.status.beat()
        return NoSlot.STOPPING

    def publish(self, header: FrameHeader, known: Known, t_received_ns: int) -> None:
        claim = self._claim
        assert claim is not None
        self._describe(claim.meta[0], header, known, t_received_ns)
        self._writer.publish(claim)
        self._claim = None
        self._job.status.observe_ns(monotonic_ns() - t_received_ns)

    def lose(self, lost: Lost) -> None:
        ledger, status = self._job.ledger, self._job.status
        note = (ledger.count + 1) % 2
        for name in _NOTE:
            status.set(f"note{note}_{name}", getattr(lost.known, name))
        ledger.append(lost.first, lost.last, lost.known.sequence, monotonic_ns(), int(lost.step), int(lost.cause))

    def ended(self, stream: int) -> None:
        self._job.status.set("note_bye", stream)

    def close(self) -> None:
        """Publish the closing place. Waits for room as long as it takes: the supervisor has the limit."""
        while self._claim is None:
            found = self._writer.claim(TICK_S, False, self._job.status.beat)
            self._job.status.beat()
            if isinstance(found, Claim):
                self._claim = found
            elif self._job.orphaned:
                return
        meta = self._claim.meta
        meta[...] = np.zeros((), meta.dtype)
        meta["kind"], meta["frame"], meta["trigger"] = Kind.CLOSING, -1, -1
        meta["ledger"] = self._job.ledger.count
        meta["settings"] = self._job.settings_version
        meta["t_received_ns"] = monotonic_ns()
        self._writer.publish(self._claim)
        self._claim = None

    # ---- how

    def _tell_of_waiting(self) -> None:
        hold, status = self._writer.hold, self._job.status
        for name, count in zip(WAITED, (hold.trackers_ns, hold.readers_ns, hold.let_go)):
            status.set(name, self._waited[name] + count)

    def _describe(self, meta: np.void, header: FrameHeader, known: Known, t_received_ns: int) -> None:
        """Write the frame's record: camera times on our clock, and how sure they are."""
        offset = header.offset_ns
        source = TimeSource(header.time_source)
        t_sent = header.t_sent_ns + offset if offset is not None else t_received_ns
        if header.t_ns is not None:
            # Velocities use the source's clock alone, also while nobody knows how it stands to ours.
            t_source = header.t_ns
            t_camera = header.t_ns + offset if offset is not None else t_received_ns
            error = header.t_error_ns + header.offset_error_ns if offset is not None else UNKNOWN_ERROR_NS
        elif header.live:
            t_source = t_camera = t_received_ns
            error, source = 0, TimeSource.ARRIVAL
        else:  # a stack: its frame n was taken at n / fps, and there is no more to know
            t_source, t_camera = round(known.frame * NS / self._fps), t_sent
            error, source = header.offset_error_ns, TimeSource.HEADER
        extra = msgspec.msgpack.encode(header.extra) if header.extra else b""
        values: dict[str, Any] = {
            "frame": known.frame,
            "counter": known.counter,
            "sequence": known.sequence,
            "stream": known.stream,
            "ledger": self._job.ledger.count,
            "t_source_ns": t_source,
            "t_camera_ns": t_camera,
            "t_camera_error_ns": error,
            "t_sent_ns": t_sent,
            "t_received_ns": t_received_ns,
            "trigger": header.trigger,
            "checksum": header.checksum,
            "exposure_us": NAN if header.exposure_us is None else header.exposure_us,
            "gain": NAN if header.gain is None else header.gain,
            "kind": Kind.FRAME,
            "time_source": source,
            "settings": self._job.settings_version,
            "bits": header.bits or self._bits,
            "high_aligned": header.high_aligned if header.bits else self._high_aligned,
            "region_y": header.region[0],
            "region_x": header.region[1],
            "binning": header.binning,
            "live": header.live,
            "extra_bytes": len(extra),
            "file_name": header.file_name.encode()[:FILE_NAME_BYTES],
            "extra": extra[:EXTRA_BYTES],
        }
        for name, value in values.items():
            meta[name] = value
