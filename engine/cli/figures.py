"""What settings mean in memory, data rates and minutes, on this machine."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cores import existing_cores, parse_cores
from engine.experiment import Experiment, Tracking
from engine.frames import FRAME_META
from engine.rows import RESULT_META, ROW

if TYPE_CHECKING:
    from recorders.pace import Pace

PARTICLES_ASSUMED = 1000  # a frame, for the size of tables: a crowded field of view
CSV_BYTES_A_ROW = 100
IMAGES_RATIO = 2.8  # shuffle and Zstandard on camera noise, which allows 2.97


@dataclass(frozen=True)
class Figures:
    """Everything that `ringtrack check` tells. Bytes, seconds, and megabytes (10^6) where the name says so."""

    experiment: Experiment
    camera_mb_s: float
    ring_slots: int
    ring_bytes: int
    ring_seconds: float
    ring_is_cut: bool
    result_slots: int
    result_bytes: int
    result_seconds: float
    shared_bytes: int  # everything that lies in /dev/shm
    workers: int
    cores: int
    pinned: bool
    recorders: list[tuple[str, float, str]]  # name, bytes a second, remark
    data_folder: str
    disk_free: int
    disk_seconds: float | None  # until it is full; None: nothing is recorded
    addresses: list[str]
    warnings: list[str]
    encryption: dict[str, Any]  # what encrypting the frames takes on this machine, measured
    paces: dict[str, str]  # of recorders of frames, measured: what this machine sustains

    @classmethod
    def of(cls, experiment: Experiment) -> Figures:
        """Work them out, with the plan that `ringtrack run` would make. Raises MachineError if it would refuse."""
        from bridge.encryption import cost_of
        from engine.rings import Rings
        from engine.supervisor.planning import make_plan
        from engine.workers.configure import workers_for

        e = experiment
        plan = make_plan(e, Path(e.experiment.data))
        slots, result_slots = plan.geometry.frame_slots, plan.geometry.result_slots
        shared_bytes = Rings(plan, owner=False).bytes
        recorders = _recorders(e)
        folder, free = _disk(Path(e.experiment.data).expanduser())
        rate = sum(each for _, each, _ in recorders)
        addresses = [e.camera.listen, e.control.listen] + [f"http://{e.web.listen}"] * e.web.enabled
        paces, cost = _paces(e), cost_of(e.camera.frame_bytes, e.camera.fps)
        return cls(
            experiment=e,
            camera_mb_s=e.camera.frame_bytes * e.camera.fps / 1e6,
            ring_slots=slots,
            ring_bytes=slots * (e.camera.frame_bytes + FRAME_META.itemsize),
            ring_seconds=slots / e.camera.fps,
            ring_is_cut=slots < round(e.ring.seconds * e.camera.fps),
            result_slots=result_slots,
            result_bytes=result_slots * (e.ring.max_particles * ROW.itemsize + RESULT_META.itemsize),
            shared_bytes=shared_bytes,
            result_seconds=result_slots / e.camera.fps,
            workers=workers_for(e),
            cores=len(parse_cores(e.tracking.cores) or existing_cores()),
            pinned=any(process.cores for process in plan.processes),
            recorders=recorders,
            data_folder=str(folder),
            disk_free=free,
            disk_seconds=free / rate if rate else None,
            addresses=addresses,
            warnings=doubts(e)
            + _warnings(e, shared_bytes)
            + [pace.line() for pace in paces if not pace.enough]
            + [f"camera.encrypt: {cost.said()}"] * (e.camera.encrypt and not cost.fits),
            encryption={"on": e.camera.encrypt, "said": cost.said()} | asdict(cost),
            paces={pace.recorder: pace.line() for pace in paces},
        )

    @property
    def stall_s(self) -> dict[str, float]:
        """How long the disk may stand still before anything is lost or held up, for each kind of recorder."""
        stalls = {}
        if self.experiment.record.hdf5 or self.experiment.record.csv:
            stalls["tables"] = self.result_seconds
        if self.experiment.record.images or self.experiment.record.tiff or self.experiment.record.crop_size:
            stalls["images"] = self.ring_seconds
        return stalls

    def stall_said(self) -> str:
        said = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.stall_s.items())
        hold = f"then the ring is held for at most {self.experiment.ring.hold_s:g} s, then the recorder is let go"
        return f"{said}; {hold}" if said else "nothing is recorded"

    def as_dict(self) -> dict[str, Any]:
        """For machines: plain values under the names above."""
        values = asdict(self)
        del values["experiment"]
        values["recorders"] = {name: {"bytes_s": rate, "gb_hour": rate * 3.6e-6} for name, rate, _ in self.recorders}
        return values | {"stall_s": self.stall_s}


def _recorders(e: Experiment) -> list[tuple[str, float, str]]:
    rows_s = min(PARTICLES_ASSUMED, e.ring.max_particles) * e.camera.fps
    per = f" with {min(PARTICLES_ASSUMED, e.ring.max_particles)} particles a frame"
    raw = e.camera.frame_bytes * e.camera.fps
    found = []
    if e.record.hdf5:
        found.append(("hdf5", rows_s * ROW.itemsize + e.camera.fps * RESULT_META.itemsize, per))
    if e.record.csv:
        limit = f"; meant for {e.record.csv_rows_s:g} rows a second, this is {rows_s:g}"
        found.append(("csv", rows_s * CSV_BYTES_A_ROW, per + limit))
    if e.record.images:
        found.append(("images", raw / IMAGES_RATIO, f" if noise shrinks to 1/{IMAGES_RATIO}"))
    if e.record.crop_size:
        crops = rows_s * e.record.crop_size**2 * e.camera.bytes_per_pixel
        which = " at most" if e.record.crop_particles else ""
        found.append(("crops", crops / IMAGES_RATIO, f"{which}{per} if noise shrinks to 1/{IMAGES_RATIO}"))
    if e.record.tiff:
        found.append(("tiff", float(raw), ""))
    return found


def _paces(e: Experiment) -> list[Pace]:
    """Of the recorders of frames that are asked for and can be had."""
    if not (e.record.images or e.record.tiff) or find_spec("imagecodecs") is None:
        return []
    from recorders import images, tiff

    asked = [(e.record.images and find_spec("hdf5plugin") is not None, images.pace), (e.record.tiff, tiff.pace)]
    return [pace(e) for wanted, pace in asked if wanted]


def _disk(folder: Path) -> tuple[Path, int]:
    """The data folder, and the free bytes of the disk it is or will be on."""
    folder = folder.absolute()
    return folder, shutil.disk_usage(_first_existing(folder)).free


def _first_existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def doubts(e: Experiment) -> list[str]:
    """Settings that are allowed and seldom meant, in sentences."""
    found = []
    disk = math.pi * (e.tracking.diameter / 2) ** 2
    if e.camera.bits >= 10 and e.tracking.minmass < 3 * disk and e.tracking.percentile < 50:
        default = " (our default, which suits 8 bits)" if e.tracking.minmass == Tracking().minmass else ""
        found.append(
            f"tracking.minmass = {e.tracking.minmass:g}{default} lets camera noise through: over a diameter of "
            f"{e.tracking.diameter} that is {e.tracking.minmass / disk:.2g} counts a pixel above the background. "
            "On a 1024 x 1024 test frame with 250 particles of diameter 21, minmass = 100 found 1102 and 5000 found "
            f"the 250. Look at the masses of your particles first; {_rounded(14 * disk):g} may be a good start."
        )
    if e.linking.search_range > e.tracking.separation:
        found.append(
            f"linking.search_range = {e.linking.search_range:g} is more than tracking.separation = "
            f"{e.tracking.separation}: neighbours may exchange their identities."
        )
    usual = e.tracking.diameter + 1
    if e.tracking.separation > 1.3 * usual:
        found.append(
            f"tracking.separation = {e.tracking.separation} is much for diameter {e.tracking.diameter}: of two "
            f"features nearer than that the fainter one is dropped. trackpy's own choice would be {usual}."
        )
    return found


def _warnings(e: Experiment, shared_bytes: int) -> list[str]:
    found = []
    folder = _first_existing(Path(e.experiment.data).expanduser().absolute())
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        found.append(f"experiment.data: {folder} cannot be written; `ringtrack run` will refuse")
    room = shutil.disk_usage("/dev/shm").free
    if shared_bytes > room:
        found.append(
            f"/dev/shm: {shared_bytes / 2**20:.0f} MiB are needed, {room / 2**20:.0f} are free; `ringtrack run` will "
            "refuse. Lower ring.seconds, or enlarge it: mount -o remount,size=8G /dev/shm"
        )
    for wanted, package, extra in (
        (e.lsl.enabled, "pylsl", "lsl"),
        (e.web.enabled, "tornado", "web"),
        (e.record.images or e.record.crop_size > 0, "hdf5plugin", "images"),
    ):
        if wanted and find_spec(package) is None:
            found.append(f"the package {package} is missing. Try: pip install 'ringtrack[{extra}]'")
    if not any((e.record.hdf5, e.record.csv, e.record.images, e.record.tiff, e.record.crop_size)):
        found.append("nothing is recorded: every key of [record] is false")
    return found


def _rounded(value: float) -> float:
    """To one digit."""
    step = 10.0 ** math.floor(math.log10(value))
    return round(value / step) * step
