"""Rules that tie settings together. Each yields what is wrong, and what would be right.

What the machine has to have for them is in `engine.machine_rules`; limits of a single key are in `engine.experiment`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Generator, Iterator, Mapping

from engine.addresses import is_loopback, local_name, parse_address
from engine.cores import parse_cores
from engine.experiment import Experiment
from engine.machine_rules import MACHINE_RULES
from engine.regions import part_of_frame
from engine.settings_faults import Fault, Given, Rule
from engine.toml_text import literal


def check(experiment: Experiment, given: Mapping[str, Given], *, machine: bool) -> list[Fault]:
    """All faults of the whole, without those that only follow from a key already found faulty."""
    rules = RULES + MACHINE_RULES if machine else RULES
    faults = []
    for rule in rules:
        for fault in rule(experiment):
            involved = (fault.key, *fault.depends_on)
            if any(key in given and given[key].faulty for key in involved):
                continue
            placed = next((given[key].place for key in involved if key in given), "our default")
            faults.append(Fault(fault.key, fault.fact, placed, fault.remedy))
    return faults


def _diameter(e: Experiment) -> Iterator[Fault]:
    diameter = e.tracking.diameter
    if diameter % 2 == 0:
        remedy = f"Try {diameter - 1} or {diameter + 1}." if diameter > 3 else "Try 3."
        yield Fault("tracking.diameter", f"{diameter} is even; it must be odd, at least 3", remedy=remedy)


def _fits_the_frame(e: Experiment) -> Iterator[Fault]:
    margin = max(e.tracking.diameter // 2, e.tracking.separation // 2 - 1)
    for key, size in (("width", e.camera.width), ("height", e.camera.height)):
        if size <= 2 * margin:
            yield Fault(
                f"camera.{key}",
                f"{size} leaves no room for features of diameter {e.tracking.diameter} and separation "
                f"{e.tracking.separation}; it must be at least {2 * margin + 1}",
                depends_on=("tracking.diameter", "tracking.separation"),
            )


def _bits(e: Experiment) -> Iterator[Fault]:
    most = 8 * e.camera.bytes_per_pixel
    if e.camera.bits > most:
        yield Fault(
            "camera.bits",
            f"{e.camera.bits} is more than {e.camera.dtype} has; it must be at most {most}",
            remedy=f"Try {most}, or 0 for all of the type.",
            depends_on=("camera.dtype",),
        )


def _limits_in_order(e: Experiment) -> Iterator[Fault]:
    t = e.tracking
    for low, high, least, most in (
        ("minmass", "maxmass", t.minmass, t.maxmass),
        ("minsize", "maxsize", t.minsize, t.maxsize),
    ):
        if most and most <= least:
            yield Fault(
                f"tracking.{high}",
                f"{most:g} is not above tracking.{low} = {least:g}: nothing would be left",
                remedy="0 means no limit.",
                depends_on=(f"tracking.{low}",),
            )


def _tile_overlap(e: Experiment) -> Iterator[Fault]:
    given = e.tracking.tile_overlap
    if not given or e.tracking.diameter % 2 == 0:
        return
    # By name: settings are read on camera PCs too, and by processes that track nothing.
    tiling = importlib.import_module("engine.workers.tiling")
    parameters = importlib.import_module("engine.workers.parameters")
    needed = tiling.overlap_needed(parameters.LocateParameters.from_settings(e.tracking, e.camera))
    if given < needed:
        yield Fault(
            "tracking.tile_overlap",
            f"{given} is too small: features at the seams would differ; diameter {e.tracking.diameter} and separation "
            f"{e.tracking.separation} need {needed}",
            remedy=f"Try {needed}, or 0 to have it chosen.",
            depends_on=("tracking.diameter", "tracking.separation"),
        )


def _addresses(e: Experiment) -> Iterator[Fault]:
    taken: dict[int, str] = {}
    for key, text, scheme in (
        ("camera.listen", e.camera.listen, "tcp://"),
        ("control.listen", e.control.listen, "tcp://"),
        ("web.listen", e.web.listen, ""),
    ):
        if key == "camera.listen" and text.startswith("ipc:"):
            if not local_name(text):
                yield Fault(key, f'{literal(text)} is no address; on this computer alone it is "ipc://@name"')
            continue
        port = yield from _address(e, key, text, scheme, "can be reached from other computers", "listen at")
        if port and port in taken and not (key == "web.listen" and not e.web.enabled):
            yield Fault(key, f"port {port} is that of {taken[port]} already", depends_on=(taken[port],))
        taken.setdefault(port, key)


def _peer(e: Experiment, key: str, text: str, scheme: str) -> Iterator[Fault]:
    """The address of a program that this run talks to."""
    yield from _address(e, key, text, scheme, "is another computer", "use")


def _address(e: Experiment, key: str, text: str, scheme: str, is_remote: str, stay: str) -> Generator[Fault, None, int]:
    """Return the port of `text`, 0 if it is no address.

    One beyond this computer, not allowed, `is_remote` ("is another computer"); the remedy is to `stay` ("use") here.
    """
    try:
        host, port = parse_address(text, scheme=scheme)
    except ValueError:
        yield Fault(key, f"{literal(text)} is no address; it must be {literal(scheme + 'host:port')}, port 0 to 65535")
        return 0
    if not is_loopback(host) and not e.network.remote:
        yield Fault(
            key,
            f"{literal(text)} {is_remote}, which must be allowed explicitly",
            remedy=f'Write remote = true under [network], or {stay} "{scheme}127.0.0.1:{port}".',
            depends_on=("network.remote",),
        )
    return port


_PARTICLE_FIELDS = (
    "x", "y", "vx", "vy", "mass", "signal", "raw_mass", "ecc", "size", "ep", "age", "saturated",
)  # fmt: skip


def _lsl(e: Experiment) -> Iterator[Fault]:
    lsl = e.lsl
    if lsl.reserved > lsl.groups:
        yield Fault(
            "lsl.reserved", f"{lsl.reserved} is more than lsl.groups = {lsl.groups}", depends_on=("lsl.groups",)
        )
    for field in lsl.fields:
        if field not in _PARTICLE_FIELDS:
            yield Fault("lsl.fields", f"a particle has no {literal(field)}; it has {', '.join(_PARTICLE_FIELDS)}")
    if len(set(lsl.fields)) < len(lsl.fields):
        yield Fault("lsl.fields", "a field stands there twice")
    if lsl.labrecorder:
        yield from _peer(e, "lsl.labrecorder", lsl.labrecorder, "")


def _slm(e: Experiment) -> Iterator[Fault]:
    slm = e.slm
    if not slm.enabled:
        return
    if slm.blank_s <= slm.hold_s:
        yield Fault(
            "slm.blank_s", f"{slm.blank_s:g} is not above slm.hold_s = {slm.hold_s:g}", depends_on=("slm.hold_s",)
        )
    if slm.feedback in ("p", "pi") and not slm.stiffness_pN_um:
        yield Fault(
            "slm.feedback", f"{literal(slm.feedback)} needs slm.stiffness_pN_um: without it no gain is safe",
            remedy="Measure it with `ringtrack calibrate trap`.", depends_on=("slm.stiffness_pN_um",),
        )  # fmt: skip
    if (slm.reach_um or slm.stiffness_pN_um) and not e.camera.pixel_um:
        yield Fault(
            "camera.pixel_um", "0 (not calibrated), but slm.reach_um or slm.stiffness_pN_um is given",
            remedy="Measure it with `ringtrack calibrate scale`.", depends_on=("slm.reach_um", "slm.stiffness_pN_um"),
        )  # fmt: skip
    scheme = slm.display.partition(":")[0]
    if scheme in ("udp", "tcp"):
        yield from _peer(e, "slm.display", slm.display, f"{scheme}://")
    elif not re.fullmatch(r"simulated|window:\d+|slmsuite:[\w.]+:\w+", slm.display):
        yield Fault(
            "slm.display",
            f"{literal(slm.display)} is none; there are simulated, window:SCREEN, udp://host:port, tcp://host:port and "
            "slmsuite:MODULE:CLASS",
        )


def _plain_name(e: Experiment) -> Iterator[Fault]:
    if any(letter in e.experiment.name for letter in '/\\:*?"<>|') or not e.experiment.name.isprintable():
        yield Fault(
            "experiment.name",
            f'{literal(e.experiment.name)} cannot be part of a file name; leave out / \\ : * ? " < > |',
        )


def _cores_form(e: Experiment) -> Iterator[Fault]:
    try:
        parse_cores(e.tracking.cores)
    except ValueError as error:
        yield Fault(
            "tracking.cores", f'{literal(e.tracking.cores)} is not understood at "{error}"; it must be as in "2-37,40"'
        )


def _adaptive_below_range(e: Experiment) -> Iterator[Fault]:
    if e.linking.adaptive_stop >= e.linking.search_range:
        yield Fault(
            "linking.adaptive_stop",
            f"{e.linking.adaptive_stop:g} is not below linking.search_range = {e.linking.search_range:g}",
            remedy="0 means that the range stays.",
            depends_on=("linking.search_range",),
        )


def _region_form(e: Experiment) -> Iterator[Fault]:
    height, width = e.camera.shape_hw
    for key, text in (("correction.region", e.correction.region), ("record.image_region", e.record.image_region)):
        try:
            y0, y1, x0, x1 = part_of_frame(text, e.camera.shape_hw)
        except ValueError:
            yield Fault(key, f'{literal(text)} is not understood; it must be "y0:y1, x0:x1"')
            continue
        if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width):
            yield Fault(
                key,
                f"{literal(text)} is no part of a frame of {height} rows and {width} columns",
                depends_on=("camera.height", "camera.width"),
            )


def _trigger_form(e: Experiment) -> Iterator[Fault]:
    from engine.triggers import parse_trigger

    try:
        parse_trigger(e.record.trigger)
    except ValueError:
        yield Fault(
            "record.trigger",
            f"{literal(e.record.trigger)} is not understood",
            remedy='It is "count >= 5" (or <=, >, <), "inside y0:y1, x0:x1" in pixels, or "marker TEXT".',
        )


def _crops(e: Experiment) -> Iterator[Fault]:
    from engine.chosen import parse_chosen

    least = min(e.camera.shape_hw)
    if e.record.crop_size > least:
        yield Fault(
            "record.crop_size",
            f"{e.record.crop_size} is more than the frame has; it must be at most {least}",
            depends_on=("camera.height", "camera.width"),
        )
    try:
        parse_chosen(e.record.crop_particles)
    except ValueError:
        yield Fault(
            "record.crop_particles",
            f"{literal(e.record.crop_particles)} is not understood",
            remedy='It is "3, 7, 20-29" (identities), "inside y0:y1, x0:x1" in pixels, or empty for all.',
        )


RULES: tuple[Rule, ...] = (
    _plain_name,
    _bits,
    _diameter,
    _fits_the_frame,
    _limits_in_order,
    _tile_overlap,
    _addresses,
    _lsl,
    _slm,
    _cores_form,
    _region_form,
    _trigger_form,
    _crops,
    _adaptive_below_range,
)
