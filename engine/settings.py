"""Reads experiments from settings files, and says everything that is wrong with them at once.

A value comes from the first of these *layers* that has it: `--set tracking.diameter=11`, the environment
(`RINGTRACK_TRACKING__DIAMETER=11`: section and key in capitals, two underscores between), the experiment's file, the
file named there by `base` (and its own base), our defaults. Base files may protect keys and require notes. An
unknown name is refused wherever it comes from. The rules that tie keys together are in `engine.settings_rules`.
"""

from __future__ import annotations

import datetime
import math
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import SettingsError
from engine.experiment import Experiment, Section
from engine.settings_faults import Fault, Given
from engine.settings_names import SECTIONS, allowed, fields_of, from_text, nearest, unlike
from engine.settings_rules import check
from engine.toml_lines import key_lines
from engine.toml_text import literal

ENVIRONMENT_PREFIX = "RINGTRACK_"
_DEEPEST_BASE = 8


@dataclass
class Layer:
    """One source of values: what it gives, by (section, key), and where each stands."""

    name: str
    values: dict[tuple[str, str], Given] = field(default_factory=dict)
    is_base: bool = False


def load(
    path: str | Path | None,
    overrides: Iterable[str] = (),
    environ: Mapping[str, str] | None = None,
    *,
    machine: bool = True,
) -> Experiment:
    """The experiment of a file and all that stands above and below it; see `Experiment.load`."""
    faults: list[Fault] = []
    layers = _files(Path(path), faults) if path is not None else []
    layers.append(_environment(os.environ if environ is None else environ, faults))
    layers.append(_overrides(overrides, faults))
    return _resolve(layers, faults, machine=machine)


def loads(text: str, name: str = "settings") -> Experiment:
    """The experiment of one text, without base, environment or this machine; see `Experiment.loads`."""
    faults: list[Fault] = []
    layer, _ = _parsed(text, name, faults)
    return _resolve([layer], faults, machine=False)


def changed(experiment: Experiment, values: Mapping[str, Any], place: str = "this change") -> Experiment:
    """The experiment with other values for some keys ({"tracking.diameter": 11}), checked as the file is.

    Texts are read as on the command line. Keys that the laboratory protects keep their values. Raises SettingsError.
    """
    faults: list[Fault] = []
    layer = Layer(place)
    merged = {
        (section, key): Given(getattr(getattr(experiment, section), key), "as it is")
        for section in SECTIONS
        if section != "notes"
        for key in fields_of(section)
    }
    merged |= {("notes", key): Given(value, "as it is") for key, value in experiment.notes.items()}
    for name, value in values.items():
        section, dot, key = str(name).partition(".")
        if not dot or section not in SECTIONS:
            faults.append(Fault(str(name), "no such key", place, nearest(str(name))))
        elif isinstance(value, str):
            _give_text(layer, section, key, value, place, faults)
        else:
            _give(layer, section, key, value, place, faults)
    protected = dict.fromkeys(experiment.lab.protect, "the laboratory")
    for path, given in layer.values.items():
        _check_protected(path, given, merged.get(path), protected, faults)
        merged[path] = given
    found = _built({path: given.value for path, given in merged.items() if not given.faulty})
    faults.extend(check(found, {f"{s}.{k}": given for (s, k), given in merged.items()}, machine=False))
    if faults:
        heading = "" if len(faults) == 1 else f"{len(faults)} faults in the settings:\n"
        raise SettingsError(heading + "\n".join(str(fault) for fault in faults))
    return found


def _files(path: Path, faults: list[Fault]) -> list[Layer]:
    """The file's layer and those of its bases, the lowest first."""
    layers: list[Layer] = []
    seen: set[Path] = set()
    named_at = ""
    while True:
        try:
            text = path.expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            faults.append(Fault(str(path), _unreadable(error), named_at))
            break
        layer, base = _parsed(text, str(path), faults)
        layer.is_base = bool(layers)
        layers.insert(0, layer)
        seen.add(path.expanduser().resolve())
        if base is None:
            break
        named_at = base.place
        path = path.parent / Path(str(base.value)).expanduser()
        if path.resolve() in seen or len(seen) > _DEEPEST_BASE:
            faults.append(Fault("base", f"{literal(base.value)} leads back to a file that was read already", named_at))
            break
    return layers


def _unreadable(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text"
    return {
        FileNotFoundError: "no such file; `ringtrack init` writes one",
        IsADirectoryError: "is a folder, not a settings file",
        PermissionError: "may not be read",
    }.get(type(error), f"cannot be read: {error.strerror}")


def _parsed(text: str, name: str, faults: list[Fault]) -> tuple[Layer, Given | None]:
    """The values of one file, and its `base`."""
    layer = Layer(name)
    try:
        data = tomllib.loads(text + "\n")  # so that a fault in the last line is not "at end of document"
    except tomllib.TOMLDecodeError as error:
        said = str(error).replace("Cannot overwrite a value", "a key is given twice")
        faults.append(Fault(name, f"is not TOML: {said}", "", _line_shown(text, said)))
        return layer, None
    lines = key_lines(text)

    def place(*path: str) -> str:
        return f"{name}, line {lines[path]}" if path in lines else name

    base = data.pop("base", None)
    for section, table in data.items():
        if section not in SECTIONS:
            faults.append(Fault(section, "no such section", place(section), nearest(section)))
        elif not isinstance(table, dict):
            faults.append(Fault(section, f"{unlike(table)}; it must be a section: [{section}]", place(section)))
        else:
            for key, value in table.items():
                _give(layer, section, key, value, place(section, key), faults)
    if base is None:
        return layer, None
    if not isinstance(base, str):
        faults.append(Fault("base", f"{unlike(base)}; it must be the name of a file", place("base")))
        return layer, None
    return layer, Given(base, place("base"))


def _line_shown(text: str, message: str) -> str:
    """The line of the text that a message of the parser names."""
    _, _, rest = message.partition("at line ")
    number = rest.partition(",")[0]
    rows = text.splitlines()
    return f"The line is: {rows[int(number) - 1].strip()}" if number.isdigit() and int(number) <= len(rows) else ""


def _environment(environ: Mapping[str, str], faults: list[Fault]) -> Layer:
    layer = Layer("environment")
    for name, text in sorted(environ.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
            _give_text(layer, section, key, text, f"environment variable {name}", faults)
    return layer


def _overrides(overrides: Iterable[str], faults: list[Fault]) -> Layer:
    layer = Layer("--set")
    for override in overrides:
        name, equals, text = override.partition("=")
        section, dot, key = name.strip().partition(".")
        if equals and dot:
            _give_text(layer, section, key, text.strip(), f"--set {override}", faults)
        else:
            known = nearest(name.strip()) if equals and not dot else ""
            hint = known if known.startswith("Did") else ""
            said = "it must be section.key=value, as in tracking.diameter=11"
            faults.append(Fault(f"--set {override}", said, "", hint))
    return layer


def _give_text(layer: Layer, section: str, key: str, text: str, place: str, faults: list[Fault]) -> None:
    if section in SECTIONS:
        _give(layer, section, key, from_text(text, section, key), place, faults)
    else:
        faults.append(Fault(f"{section}.{key}", "no such section", place, nearest(section)))


def _give(layer: Layer, section: str, key: str, value: Any, place: str, faults: list[Fault]) -> None:
    """Take a value into its layer if there is such a key and the value is of its kind."""
    name = f"{section}.{key}"
    if section == "notes":
        if isinstance(value, (datetime.date, datetime.time)):
            value = value.isoformat()
        whole = isinstance(value, int) and -(2**63) <= value < 2**63  # what TOML and JSON hold
        if whole or isinstance(value, str) or (isinstance(value, float) and math.isfinite(value)):
            layer.values[section, key] = Given(value, place)
        else:
            faults.append(Fault(name, f"{unlike(value)}; it must be text, a number, true or false", place))
        return
    known = fields_of(section)
    if key not in known:
        faults.append(Fault(name, "no such key", place, nearest(name)))
        return
    try:
        converted = msgspec.convert(value, known[key].type)
        if isinstance(converted, float) and not math.isfinite(converted):
            raise msgspec.ValidationError
    except (msgspec.ValidationError, OverflowError):
        faults.append(Fault(name, f"{unlike(value)}; it must be {allowed(known[key])}", place))
        layer.values[section, key] = Given(None, place, faulty=True)
    else:
        layer.values[section, key] = Given(converted, place)


def _resolve(layers: list[Layer], faults: list[Fault], *, machine: bool) -> Experiment:
    """Put the layers on top of each other and check the whole. Raises SettingsError if anything is wrong."""
    merged: dict[tuple[str, str], Given] = {}
    protected: dict[str, str] = {}
    required: dict[str, str] = {}
    for layer in layers:
        for path, given in layer.values.items():
            _check_protected(path, given, merged.get(path), protected, faults)
            merged[path] = given
        if layer.is_base:
            _take_rules(layer, protected, required, faults)
    values = {path: given.value for path, given in merged.items() if not given.faulty}
    for note, place in required.items():
        if str(values.get(("notes", note), "")).strip() == "":
            faults.append(
                Fault(f"notes.{note}", f"missing; {place} requires it", "", f'Add {note} = "…" under [notes].')
            )
    experiment = _built(values)
    faults.extend(check(experiment, {f"{s}.{k}": given for (s, k), given in merged.items()}, machine=machine))
    if faults:
        heading = "" if len(faults) == 1 else f"{len(faults)} faults in the settings:\n"
        raise SettingsError(heading + "\n".join(str(fault) for fault in faults))
    return experiment


def _built(values: Mapping[tuple[str, str], Any]) -> Experiment:
    sections: dict[str, Any] = {}
    for name, kind in SECTIONS.items():
        own = {key: value for (section, key), value in values.items() if section == name}
        sections[name] = kind(**own) if isinstance(kind, type) and issubclass(kind, Section) else own
    return Experiment(**sections)


def _check_protected(
    path: tuple[str, str], given: Given, below: Given | None, protected: Mapping[str, str], faults: list[Fault]
) -> None:
    name = ".".join(path)
    rule = next((rule for rule in protected if fnmatchcase(name, rule)), None)
    if rule is None or (below is not None and below.value == given.value):
        return
    there = f"; it is {literal(below.value)} there" if below is not None and not below.faulty else ""
    faults.append(Fault(name, f"protected by {protected[rule]}{there}", given.place, "Leave it out here."))


def _take_rules(layer: Layer, protected: dict[str, str], required: dict[str, str], faults: list[Fault]) -> None:
    """From here on the layers above are held to what this base file says in its [lab]."""
    known = [f"{section}.{key}" for section in SECTIONS for key in fields_of(section)]
    for key, rules in (("protect", protected), ("required_notes", required)):
        given = layer.values.get(("lab", key))
        if given is None or given.faulty:
            continue
        for rule in given.value:
            if key == "protect" and not rule.startswith("notes.") and not any(fnmatchcase(n, rule) for n in known):
                faults.append(Fault("lab.protect", f"{literal(rule)} is no key", given.place, nearest(rule)))
            rules.setdefault(rule, given.place)
