"""The experiment as typed data: every section and key of the settings file, with its default, limits and meaning.

The description of a key is its comment in the file that `ringtrack init` writes. Values are checked one by one
against the limits written here; `engine.settings` reads files and checks what hangs together. Experiments never
change: a change of settings is a new one, with a version number of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from engine.addresses import USUAL

Note = str | int | float | bool

NonNegative = Annotated[float, Meta(ge=0)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the settings file."""


class Run(Section, frozen=True, kw_only=True):
    """What the run is called, where its files go and when it ends."""

    name: Annotated[str, Meta(min_length=1, max_length=60, description="what this experiment is called")] = "run"
    max_lost: Annotated[int, Meta(ge=0, description="more lost frames than this: the run ends with exit status 4")] = 0
    data: Annotated[
        str,
        Meta(min_length=1, description="folder of all runs: data/2026-11-21/run_001/…; seen from where you start"),
    ] = "data"
    duration_s: Annotated[float, Meta(ge=0, description="seconds; 0: until stopped")] = 0.0


class Camera(Section, frozen=True, kw_only=True):
    """What arrives, and where."""

    listen: Annotated[str, Meta(description="where senders connect to; or ipc://@name")] = USUAL
    encrypt: Annotated[
        bool, Meta(description="true: frames travel encrypted, from senders with our keys alone; `check` says the cost")
    ] = False
    width: Annotated[int, Meta(ge=8, le=32768, description="pixels of a row")] = 2048
    height: Annotated[int, Meta(ge=8, le=32768, description="rows")] = 2048
    dtype: Annotated[Literal["uint8", "uint16"], Meta(description='"uint8" or "uint16"')] = "uint16"
    bits: Annotated[
        int, Meta(ge=0, le=16, description="bits that count: 12 in uint16 saturates at 4095; 0: all of the type")
    ] = 0
    high_aligned: Annotated[bool, Meta(description="true: they are the upper bits of the pixel")] = False
    fps: Annotated[float, Meta(gt=0, le=1e6, description="frames a second")] = 100.0
    pixel_um: Annotated[float, Meta(ge=0, description="micrometres a pixel, in the sample; 0: not calibrated")] = 0.0

    def __post_init__(self) -> None:
        if self.bits == 0:
            msgspec.structs.force_setattr(self, "bits", 8 * self.bytes_per_pixel)

    @property
    def bytes_per_pixel(self) -> int:
        return 1 if self.dtype == "uint8" else 2

    @property
    def shape_hw(self) -> tuple[int, int]:
        return (self.height, self.width)

    @property
    def frame_bytes(self) -> int:
        return self.height * self.width * self.bytes_per_pixel

    @property
    def saturation(self) -> int:
        """The largest value that a pixel can have: the sensor's limit."""
        largest = (1 << self.bits) - 1
        return largest << (8 * self.bytes_per_pixel - self.bits) if self.high_aligned else largest


class Ring(Section, frozen=True, kw_only=True):
    """How much is kept in shared memory."""

    seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="frames for so long (at most a quarter of the free memory); a disk may stall so long",
        ),
    ] = 3.0
    max_particles: Annotated[int, Meta(ge=1, le=1_000_000, description="rows kept a frame; the weakest go first")] = (
        4096
    )
    hold_s: Annotated[
        float, Meta(gt=0, le=3600, description="how long a recorder may hold the ring before it is let go")
    ] = 3.0


class Tracking(Section, frozen=True, kw_only=True):
    """trackpy's names and meanings."""

    diameter: Annotated[int, Meta(ge=3, le=255, description="of a feature, pixels; odd")] = 21
    separation: Annotated[int, Meta(ge=1, le=1024, description="features nearer than this are one, pixels")] = 18
    minmass: Annotated[float, Meta(ge=0, description="least summed brightness; more keeps noise out")] = 100.0
    maxmass: Annotated[float, Meta(ge=0, description="0: no limit")] = 0.0
    percentile: Annotated[
        float, Meta(ge=0, le=100, description="features are brighter than this share of pixels, %")
    ] = 14.0
    max_ecc: Annotated[float, Meta(ge=0, description="0 is round, 1 a line; 0 here: no limit")] = 0.3
    maxsize: Annotated[float, Meta(ge=0, description="radius of gyration, pixels; 0: no limit")] = 0.0
    minsize: Annotated[float, Meta(ge=0, description="pixels; 0: no limit")] = 0.0
    min_signal: Annotated[float, Meta(ge=0, description="least peak brightness; 0: no limit")] = 0.0
    invert: Annotated[bool, Meta(description="true: dark particles on a bright background")] = False
    precision: Annotated[
        Literal["double", "single"],
        Meta(description='"double": trackpy\'s numbers; "single": faster, 99.9 % within 1e-4 px'),
    ] = "double"
    tile_width: Annotated[
        int, Meta(ge=0, le=32768, description="0: chosen; 256 x 256 with 32 around is what people know")
    ] = 0
    tile_height: Annotated[int, Meta(ge=0, le=32768, description="0: chosen")] = 0
    tile_overlap: Annotated[
        int, Meta(ge=0, le=4096, description="0: what the settings need; too little is refused")
    ] = 0
    workers: Annotated[
        int,
        Meta(
            ge=0,
            le=1024,
            description="tracker processes; 0: cores - 2 from 5 cores on, else all (with light all but one)",
        ),
    ] = 0
    cores: Annotated[str, Meta(description='where processes are pinned, as "2-37,40"; empty: chosen')] = ""


class Correction(Section, frozen=True, kw_only=True):
    """Done to frames before tracking; `ringtrack calibrate` makes the files."""

    FILES: ClassVar[tuple[str, ...]] = ("dark", "flat", "background", "bad_pixels", "mask")

    dark: Annotated[str, Meta(description="a mean frame without light, subtracted: dark.npy")] = ""
    flat: Annotated[str, Meta(description="a mean frame of even light, divided by: flat.npy")] = ""
    background: Annotated[
        str, Meta(description="a median of many frames, subtracted instead of the dark one: background.npy")
    ] = ""
    background_s: Annotated[
        float, Meta(ge=0, le=86400, description="so often a new one is made of the run's own frames; 0: it stays")
    ] = 0.0
    background_frames: Annotated[
        int, Meta(ge=3, le=255, description="it is the median of so many, evenly spread over that time")
    ] = 31
    bad_pixels: Annotated[str, Meta(description="true where a pixel is bad: it becomes the mean of its neighbours")] = (
        ""
    )
    mask: Annotated[str, Meta(description="true where pixels are left out: mask.npy")] = ""
    region: Annotated[
        str, Meta(description='the part that is tracked, "y0:y1, x0:x1" in pixels; empty: the whole frame')
    ] = ""
    offset: Annotated[
        float, Meta(ge=0, le=65535, description="added after subtracting, so that noise below 0 is not cut off")
    ] = 100.0

    @property
    def active(self) -> bool:
        """Whether frames are corrected at all."""
        return bool(self.region or self.background_s) or any(getattr(self, name) for name in self.FILES)


class Linking(Section, frozen=True, kw_only=True):
    """Which feature is which particle."""

    search_range: Annotated[float, Meta(gt=0, description="farthest way from one frame to the next, pixels")] = 10.0
    memory: Annotated[int, Meta(ge=0, le=10_000, description="frames for which a lost particle is remembered")] = 3
    adaptive_stop: Annotated[
        float, Meta(ge=0, description="where it is crowded the range shrinks down to this, pixels; 0: it stays")
    ] = 0.0
    adaptive_step: Annotated[float, Meta(gt=0, le=0.999, description="the factor by which it shrinks")] = 0.95
    prediction: Annotated[
        Literal["none", "nearest", "drift"],
        Meta(description='"nearest": expected to go on as the nearest one went; "drift": as the mean'),
    ] = "none"


class Record(Section, frozen=True, kw_only=True):
    """What is written to the disk."""

    on: Annotated[bool, Meta(description="from the start of a run on; false: `ringtrack record start` begins")] = True
    before_s: Annotated[
        float, Meta(ge=0, le=5, description="while recording is off so much is kept, for `record start --before`")
    ] = 2.0
    min_free_gb: Annotated[NonNegative, Meta(description="with less disk recording neither starts nor goes on")] = 1.0
    trigger: Annotated[
        str,
        Meta(description='starts a take: "count >= 5", "inside y0:y1, x0:x1", "marker TEXT"; "": nothing does'),
    ] = ""
    trigger_s: Annotated[float, Meta(gt=0, le=86400, description="so long is a take that it started")] = 10.0
    trigger_rest_s: Annotated[NonNegative, Meta(description="so long after such a take it starts no other")] = 0.0
    hdf5: Annotated[bool, Meta(description="tracks, frames and events: tracking_run_001.h5")] = True
    images: Annotated[bool, Meta(description="camera frames, in the HDF5 file")] = False
    tiff: Annotated[bool, Meta(description="camera frames, one file each")] = False
    csv: Annotated[bool, Meta(description="100 bytes a row: 36 GB an hour at full load; hdf5 holds the same")] = False
    crop_size: Annotated[
        int, Meta(ge=0, le=1024, description="pictures of single particles, so many pixels a side; 0: none")
    ] = 0
    crop_particles: Annotated[
        str, Meta(description='of which: "3, 7, 20-29", "inside y0:y1, x0:x1"; empty: of all')
    ] = ""
    image_every: Annotated[int, Meta(ge=1, description="of camera frames, every n-th number")] = 1
    image_region: Annotated[str, Meta(description='the part that is kept of them, "y0:y1, x0:x1"; empty: all')] = ""
    image_level: Annotated[int, Meta(ge=1, le=19, description="Zstandard in the HDF5 file: 1 is fast")] = 1
    image_threads: Annotated[int, Meta(ge=0, le=64, description="that compress; 0: a quarter of the cores")] = 0
    tiff_compression: Annotated[
        Literal["lzw", "zstd", "deflate", "none"], Meta(description='"lzw", "zstd", "deflate" or "none"')
    ] = "lzw"
    tiff_stack: Annotated[bool, Meta(description="all of them as pages of one OME-TIFF instead")] = False
    part_gb: Annotated[NonNegative, Meta(description="images: a new file at this size; 0: one file")] = 0.0
    part_min: Annotated[NonNegative, Meta(description="images: a new file after so many minutes; 0: one file")] = 0.0
    csv_rows_s: Annotated[
        float, Meta(gt=0, description="csv is meant for so many rows a second; above, it says so: export afterwards")
    ] = 100_000.0
    flush_s: Annotated[float, Meta(gt=0, le=60, description="a crash of the recorder loses no more than this")] = 1.0


class Lsl(Section, frozen=True, kw_only=True):
    """Lab Streaming Layer."""

    enabled: Annotated[bool, Meta(description="stream results, for LabRecorder")] = False
    name: Annotated[str, Meta(max_length=60, description='streams are NAME_particles, …; "": experiment.name')] = ""
    laboratory: Annotated[str, Meta(min_length=1, description="part of what tells the streams from others'")] = "lab"
    instrument: Annotated[str, Meta(min_length=1, description="the same")] = "microscope"
    type: Annotated[str, Meta(min_length=1, description="type of the stream of particles")] = "MoCap"
    groups: Annotated[int, Meta(ge=1, le=1000, description="particles that have channels of their own")] = 32
    reserved: Annotated[int, Meta(ge=0, le=1000, description="of these, kept for particles that are chosen")] = 0
    rest_frames: Annotated[
        int, Meta(ge=0, le=100_000, description="channels stay empty so long before the next particle")
    ] = 10
    fields: Annotated[tuple[str, ...], Meta(description="after ObjectId; names as in /tracks")] = (
        "x", "y", "vx", "vy", "mass",
    )  # fmt: skip
    rows: Annotated[bool, Meta(description="a stream of the whole table too, one sample a particle")] = False
    record: Annotated[
        tuple[str, ...], Meta(description="streams of others to keep: markers in /events, numbers in /streams/NAME")
    ] = ()
    labrecorder: Annotated[str, Meta(description='its remote control, to record with the run: "127.0.0.1:22345"')] = ""


class Sample(Section, frozen=True, kw_only=True):
    """What the particles are and what they are in."""

    temperature_K: Annotated[float, Meta(gt=0, le=1000, description="kelvin")] = 298.15
    viscosity_mPas: Annotated[float, Meta(gt=0, description="of the fluid, millipascal seconds; water: 0.89")] = 0.89
    radius_um: Annotated[float, Meta(gt=0, description="of a bead, micrometres")] = 0.5
    height_um: Annotated[NonNegative, Meta(description="of a bead's centre above the glass; 0: far from it")] = 0.0


class Slm(Section, frozen=True, kw_only=True):
    """Spatial light modulator."""

    enabled: Annotated[bool, Meta(description="hold and move particles with light")] = False
    shadow: Annotated[bool, Meta(description="true: all is computed and logged, nothing is ever shown")] = False
    display: Annotated[
        str, Meta(description='"window:1", "udp://host:port", "tcp://host:port", "slmsuite:MODULE:CLASS", "simulated"')
    ] = "simulated"
    width: Annotated[int, Meta(ge=16, le=8192, description="pixels of the modulator")] = 512
    height: Annotated[int, Meta(ge=16, le=8192, description="rows")] = 512
    registration: Annotated[str, Meta(description="camera to traps; `ringtrack slm register` makes the file")] = ""
    residual_px: Annotated[float, Meta(gt=0, description="a registration that is worse is refused")] = 1.0
    oldest_days: Annotated[float, Meta(gt=0, description="one that is older is refused")] = 7.0
    shift_x: Annotated[float, Meta(description="added to every trap, away from the zero order; orders")] = 0.0
    shift_y: Annotated[float, Meta(description="the same")] = 0.0
    shift_z: Annotated[float, Meta(description="the same, radians of the lens at the edge")] = 0.0
    flatness: Annotated[str, Meta(description="a map in radians, added modulo 2 pi: flatness.npy")] = ""
    table: Annotated[str, Meta(description="256 levels, the display's for each level of phase: table.npy")] = ""
    refine: Annotated[bool, Meta(description="even out the traps in the background (weighted Gerchberg-Saxton)")] = True
    hold_s: Annotated[float, Meta(gt=0, le=60, description="data older than this: the light stays as it is")] = 0.1
    blank_s: Annotated[float, Meta(gt=0, le=600, description="older than this: no light, until armed again")] = 1.0
    greatest_power: Annotated[float, Meta(ge=0, description="sum of the traps' intensities; 0: no limit")] = 0.0
    greatest_step: Annotated[float, Meta(gt=0, description="of a trap from command to command, pixels")] = 2.0
    clearance: Annotated[float, Meta(ge=0, description="traps never come closer to each other, pixels")] = 15.0
    farthest: Annotated[float, Meta(gt=0, description="a trap takes no particle farther away than this, pixels")] = 10.0
    settle_frames: Annotated[int, Meta(ge=1, le=10_000, description="seen so often near its trap, it is held")] = 3
    reach_um: Annotated[NonNegative, Meta(description="of a trap; 0: not known, and its beads are not waited for")] = (
        0.0
    )
    stiffness_pN_um: Annotated[
        NonNegative, Meta(description="of a trap, as `ringtrack calibrate trap` measured it; 0: not known")
    ] = 0.0
    delay_frames: Annotated[int, Meta(ge=0, le=1000, description="from camera to light, `ringtrack slm latency`")] = 2
    feedback: Annotated[
        Literal["off", "reposition", "p", "pi"], Meta(description='"off", "reposition" (slow), "p" or "pi"')
    ] = "off"
    gain: Annotated[NonNegative, Meta(description="of the feedback; refused where the loop would oscillate")] = 0.0
    integral: Annotated[NonNegative, Meta(description='of "pi", a frame')] = 0.0
    average_frames: Annotated[int, Meta(ge=1, le=100_000, description='of "reposition"')] = 100


class Monitor(Section, frozen=True, kw_only=True):
    """A window on this machine's desktop."""

    enabled: Annotated[bool, Meta(description="show frames and particles while they arrive")] = False


class Web(Section, frozen=True, kw_only=True):
    """The same in a browser."""

    enabled: Annotated[bool, Meta(description="serve the page")] = False
    listen: Annotated[str, Meta(description="where browsers connect to")] = "127.0.0.1:8766"


class Control(Section, frozen=True, kw_only=True):
    """Programs that steer a run."""

    listen: Annotated[str, Meta(description="where control clients connect to")] = "tcp://127.0.0.1:50053"
    encrypt_pixels: Annotated[
        bool, Meta(description="true: pictures for other computers are encrypted as all else is; `check` says the cost")
    ] = False


class Network(Section, frozen=True, kw_only=True):
    """Who may reach us."""

    remote: Annotated[
        bool, Meta(description="true: the addresses above may be ones that other computers can reach")
    ] = False


class Lab(Section, frozen=True, kw_only=True):
    """Rules of the laboratory for the files that name this one as their base."""

    protect: Annotated[
        tuple[str, ...], Meta(description='keys that experiments may not change: ["camera.pixel_um", "slm.*"]')
    ] = ()
    required_notes: Annotated[tuple[str, ...], Meta(description='notes that every run must have: ["operator"]')] = ()


class Experiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one experiment. Immutable; equal settings compare equal."""

    experiment: Run = Run()
    notes: dict[str, Note] = msgspec.field(default_factory=dict)
    camera: Camera = Camera()
    ring: Ring = Ring()
    correction: Correction = Correction()
    tracking: Tracking = Tracking()
    linking: Linking = Linking()
    record: Record = Record()
    lsl: Lsl = Lsl()
    sample: Sample = Sample()
    slm: Slm = Slm()
    monitor: Monitor = Monitor()
    web: Web = Web()
    control: Control = Control()
    network: Network = Network()
    lab: Lab = Lab()

    @classmethod
    def load(
        cls,
        path: str | Path | None,
        overrides: Iterable[str] = (),
        environ: Mapping[str, str] | None = None,
        *,
        machine: bool = True,
    ) -> Experiment:
        """Read an experiment: `overrides` ("tracking.diameter=11"), environment, file, its base, our defaults.

        None as `path`: no file. None as `environ`: the environment of this process. With `machine` false, what
        depends on this computer (cores) is not checked: for opening what another one recorded.
        Raises SettingsError, which names all faults at once.
        """
        from engine.settings import load

        return load(path, overrides, environ, machine=machine)

    @classmethod
    def loads(cls, text: str, name: str = "settings") -> Experiment:
        """Read the text of a settings file, as `to_toml` wrote it; nothing else is looked at."""
        from engine.settings import loads

        return loads(text, name)

    def to_toml(self) -> str:
        """The settings file with every key and its comment; reading it gives an equal experiment."""
        from engine.toml_text import to_toml

        return to_toml(self)

    def version_hash(self) -> str:
        """16 hex digits that are the same for equal settings and equal calibration files, on any machine."""
        digest = hashlib.blake2b(msgspec.json.encode(self, order="deterministic"), digest_size=8)
        for name in self.correction.FILES:
            path = Path(getattr(self.correction, name))
            if getattr(self.correction, name) and path.is_file():
                digest.update(hashlib.blake2b(path.read_bytes()).digest())
        return digest.hexdigest()
