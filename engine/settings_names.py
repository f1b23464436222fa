"""The names of all settings and what each may be, in words for messages."""

from __future__ import annotations

import difflib
import tomllib
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from engine.experiment import Experiment, Section
from engine.toml_text import literal

SECTIONS: dict[str, Any] = {field.name: field.type for field in msgspec.structs.fields(Experiment)}


@cache
def fields_of(section: str) -> dict[str, msgspec.structs.FieldInfo]:
    """The keys of a section, by name; none for [notes], where any key goes."""
    kind = SECTIONS.get(section)
    if not (isinstance(kind, type) and issubclass(kind, Section)):
        return {}
    return {field.name: field for field in msgspec.structs.fields(kind)}


def nearest(name: str) -> str:
    """A hint at the section or key that was probably meant; empty if none comes near."""
    section, dot, key = name.partition(".")
    if not dot:
        whole = [f"{other}.{name}" for other in SECTIONS if name in fields_of(other) and name != "enabled"]
        if whole:
            return f"Did you mean {' or '.join(whole)}?"
        close = difflib.get_close_matches(name, SECTIONS, n=1)
        if close:
            return f"Nearest: [{close[0]}]."
        keys = {known: f"{other}.{known}" for other in reversed(SECTIONS) for known in fields_of(other)}
        close = difflib.get_close_matches(name, keys, n=1, cutoff=0.75)
        return f"Did you mean {keys[close[0]]}?" if close else f"Sections: {', '.join(SECTIONS)}."
    close = difflib.get_close_matches(key, fields_of(section), n=1)
    if close:
        return f"Nearest: {section}.{close[0]}."
    elsewhere = [f"{other}.{key}" for other in SECTIONS if key in fields_of(other) and key != "enabled"]
    if elsewhere:
        return f"Nearest: {elsewhere[0]}."
    everything = [f"{other}.{known}" for other in SECTIONS for known in fields_of(other)]
    close = difflib.get_close_matches(name, everything, n=1)
    return f"Nearest: {close[0]}." if close else ""


def allowed(field: msgspec.structs.FieldInfo) -> str:
    """What a key may be: "a whole number, at least 3, at most 255"."""
    kind = inspect.type_info(field.type)
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.LiteralType):
        return "one of " + ", ".join(literal(value) for value in sorted(kind.values, key=str))
    if isinstance(kind, inspect.BoolType):
        return "true or false"
    if isinstance(kind, inspect.StrType):
        limits = [f"at least {kind.min_length} letters" * bool(kind.min_length and kind.min_length > 1)]
        limits += ["not empty"] * (kind.min_length == 1)
        limits += [f"at most {kind.max_length} letters"] * (kind.max_length is not None)
        return ", ".join(["text", *filter(None, limits)])
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        words = ["a whole number" if isinstance(kind, inspect.IntType) else "a number"]
        for limit, phrase in ((kind.gt, "above"), (kind.ge, "at least"), (kind.lt, "below"), (kind.le, "at most")):
            if limit is not None:
                words.append(f"{phrase} {limit:g}")
        return ", ".join(words)
    return "a list of texts"


def unlike(value: Any) -> str:
    """A value that was refused, and what it is."""
    if isinstance(value, bool):
        return f"{literal(value)} is a truth value"
    if isinstance(value, str):
        return f"{literal(value)} is not allowed"
    if isinstance(value, (int, float)):
        return f"{value!r} is not allowed"
    if isinstance(value, list):
        return "a list is not allowed"
    if isinstance(value, dict):
        return "a table is not allowed"
    if value is None:
        return "nothing is not allowed"
    if isinstance(value, bytes):
        return "bytes are not allowed"
    return f"{value} is a date or time"


def from_text(text: str, section: str, key: str) -> Any:
    """A value that came as text (command line, environment), read as the file would be, but kindly.

    Texts need no quotes, `.5` is a number and `True` is true.
    """
    field = fields_of(section).get(key)
    try:
        parsed = tomllib.loads(f"value = {text}") if "\n" not in text else {}
    except tomllib.TOMLDecodeError:
        parsed = {}
    value = parsed.get("value", text)
    if field is not None:
        kind = inspect.type_info(field.type)
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
        if isinstance(kind, (inspect.StrType, inspect.LiteralType)):
            return value if isinstance(value, str) else text
        if isinstance(kind, inspect.BoolType) and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if isinstance(kind, (inspect.IntType, inspect.FloatType)) and isinstance(value, str):
            try:
                return float(text)
            except ValueError:
                return value
    return value
