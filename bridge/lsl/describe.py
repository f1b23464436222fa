"""What the four streams are: name, type, channels with label, type and unit, and the metadata of XDF.

Everything follows from the settings, never from the data, so that a stream is the same after a restart. The nominal
rate is 0: readers of XDF even out the stamps of a stream with a rate, which moves those of a camera that lost frames.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.experiment import Experiment
from engine.rows import ROW


class Channel(NamedTuple):
    """A channel by the conventions of XDF's metadata."""

    label: str
    type: str
    unit: str


class Stream(NamedTuple):
    """A stream to be: `channels` empty means one text channel of markers."""

    name: str
    type: str
    source_id: str
    channels: tuple[Channel, ...]
    description: dict[str, Any]


FIELD_TYPES = {
    "x": ("PositionX", "length"), "y": ("PositionY", "length"),
    "vx": ("VelocityX", "speed"), "vy": ("VelocityY", "speed"),
    "mass": ("Intensity", "counts"), "signal": ("Intensity", "counts"), "raw_mass": ("Intensity", "counts"),
    "ecc": ("Shape", "none"), "size": ("Size", "pixels"), "ep": ("Confidence", "pixels"),
    "age": ("Age", "frames"), "saturated": ("Quality", "pixels"),
}  # fmt: skip
"""Fields of a particle that may be streamed: type by the conventions (MoCap), and unit."""

STATS = (
    Channel("FrameNumber", "FrameNumber", "frames"),
    Channel("Detected", "Count", "particles"),
    Channel("Published", "Count", "particles"),
    Channel("Overflow", "Count", "particles"),  # published, but without a channel group
    Channel("LostUpstream", "Count", "frames"),  # since the sample before
    Channel("Lag", "Count", "frames"),  # published and not yet streamed
    Channel("Tracking", "Duration", "milliseconds"),  # from received to tracked
    Channel("CameraToPush", "Latency", "milliseconds"),
)
ROW_FIELDS = tuple(name for name in (ROW.names or ()) if name not in ("frame", "particle"))


def in_micrometers(experiment: Experiment) -> bool:
    """Whether the particles stream says micrometres: the camera is calibrated. The rows stream always says pixels."""
    return experiment.camera.pixel_um > 0


def streams(experiment: Experiment) -> dict[str, Stream]:
    """The streams of an experiment by what they are: particles, stats, events and, if wanted, rows."""
    lsl = experiment.lsl
    name = lsl.name or experiment.experiment.name
    length = "micrometers" if in_micrometers(experiment) else "pixels"
    units = {"length": length, "speed": f"{length}/second"}
    number = Channel("FrameNumber", "FrameNumber", "frames")
    particles = [number]
    for group in range(lsl.groups):
        particles.append(Channel(f"P{group}_ObjectId", "ObjectId", "none"))
        for field in lsl.fields:
            kind, unit = FIELD_TYPES[field]
            particles.append(Channel(f"P{group}_{field}", kind, units.get(unit, unit)))
    plain = {"length": "pixels", "speed": "pixels/second"}
    rows = [number, Channel("ObjectId", "ObjectId", "none")]
    rows += [Channel(f, FIELD_TYPES[f][0], plain.get(FIELD_TYPES[f][1], FIELD_TYPES[f][1])) for f in ROW_FIELDS]
    about = _about(experiment)
    found = {
        "particles": (lsl.type, tuple(particles)),
        "stats": ("Stats", STATS),
        "events": ("Markers", ()),
    }
    if lsl.rows:
        found["rows"] = ("Table", tuple(rows))
    return {
        part: Stream(f"{name}_{part}", kind, f"{lsl.laboratory}/{lsl.instrument}/{name}_{part}", channels, about)
        for part, (kind, channels) in found.items()
    }


def _about(experiment: Experiment) -> dict[str, Any]:
    camera, tracking, linking = experiment.camera, experiment.tracking, experiment.linking
    return {
        "acquisition": {
            "manufacturer": "ringtrack", "instrument": experiment.lsl.instrument,
            "laboratory": experiment.lsl.laboratory, "frame_rate": f"{camera.fps!r}",
            "time": "of the camera, not of sending", "settings": experiment.version_hash(),
        },
        "setup": {
            "name": experiment.experiment.name, "objective": str(experiment.notes.get("objective", "")),
            "pixel_um": f"{camera.pixel_um!r}", "width": str(camera.width), "height": str(camera.height),
            "origin": "centre of the top-left pixel, y down",
            "tracking": {"diameter": str(tracking.diameter), "separation": str(tracking.separation),
                         "minmass": f"{tracking.minmass!r}"},
            "linking": {"search_range": f"{linking.search_range!r}", "memory": str(linking.memory)},
        },
        "groups": {"count": str(experiment.lsl.groups), "reserved": str(experiment.lsl.reserved),
                   "rest_frames": str(experiment.lsl.rest_frames)},
    }  # fmt: skip


def make_info(pylsl: Any, stream: Stream) -> Any:
    """The `StreamInfo` of a stream, with its metadata."""
    markers = not stream.channels
    count = 1 if markers else len(stream.channels)
    info = pylsl.StreamInfo(stream.name, stream.type, count, 0.0, "string" if markers else "double64", stream.source_id)
    root = info.desc()
    channels = root.append_child("channels")
    for channel in stream.channels or (Channel("Events", "Markers", "JSON"),):
        element = channels.append_child("channel")
        for key, value in zip(Channel._fields, channel):
            element.append_child_value(key, value)
    _append(root, stream.description)
    return info


def _append(element: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            _append(element.append_child(key), value)
        else:
            element.append_child_value(key, value)
