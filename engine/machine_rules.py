"""Rules that tie settings to this machine: cores, files and keys that it has or has not.

They are not asked where an experiment is read that another machine recorded. Rules between settings:
`engine.settings_rules`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.cores import existing_cores, parse_cores, stretches
from engine.experiment import Experiment
from engine.keys import has_server_keys, keys_folder
from engine.settings_faults import Fault, Rule
from engine.toml_text import literal


def _cores_exist(e: Experiment) -> Iterator[Fault]:
    try:
        wanted = parse_cores(e.tracking.cores)
    except ValueError:
        return
    here = existing_cores()
    absent = [core for core in wanted if core not in here]
    if absent:
        listed = ", ".join(map(str, absent[:8])) + (", …" if len(absent) > 8 else "")
        noun, verb = ("core", "does") if len(absent) == 1 else ("cores", "do")
        yield Fault(
            "tracking.cores",
            f"{noun} {listed} {verb} not exist on this machine; it has {len(here)}: {stretches(here)}",
            remedy='Empty ("") means chosen.',
        )


def _calibration_files(e: Experiment) -> Iterator[Fault]:
    for name in e.correction.FILES:
        made = f"`ringtrack calibrate {name.replace('_', '-')} SOURCE` makes it."
        saved = "Save a boolean array of the frame's shape with numpy.save."
        yield from _file(f"correction.{name}", getattr(e.correction, name), saved if name == "mask" else made)


def _slm_files(e: Experiment) -> Iterator[Fault]:
    if not e.slm.enabled:
        return
    if not e.slm.registration:
        yield Fault(
            "slm.registration", "is missing: where is the light?", remedy="Make it with `ringtrack slm register`."
        )
    for name in ("registration", "flatness", "table"):
        yield from _file(f"slm.{name}", getattr(e.slm, name))


def _file(key: str, path: str, remedy: str = "") -> Iterator[Fault]:
    if path and not Path(path).is_file():
        yield Fault(key, f"there is no file {literal(path)} (looked for it in {Path.cwd()})", remedy=remedy)


def _keys(e: Experiment) -> Iterator[Fault]:
    if e.camera.encrypt and not has_server_keys():
        yield Fault(
            "camera.encrypt", f"true, and there are no keys in {keys_folder()}",
            remedy="Make them with `ringtrack keys`, and copy client.key_secret and server.key to the camera PC.",
        )  # fmt: skip


MACHINE_RULES: tuple[Rule, ...] = (_cores_exist, _calibration_files, _slm_files, _keys)
