"""The names of all settings and what each may be, in words for messages."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from engine.experiment import Experiment, Section
from engine.toml_text import literal
from engine.type_words import nearest_name, plain_type, words_of

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
        if close := nearest_name(name, SECTIONS):
            return f"Nearest: [{close}]."
        keys = {known: f"{other}.{known}" for other in reversed(SECTIONS) for known in fields_of(other)}
        close = nearest_name(name, keys, cutoff=0.75)
        return f"Did you mean {keys[close]}?" if close else f"Sections: {', '.join(SECTIONS)}."
    if close := nearest_name(key, fields_of(section)):
        return f"Nearest: {section}.{close}."
    elsewhere = [f"{other}.{key}" for other in SECTIONS if key in fields_of(other) and key != "enabled"]
    if elsewhere:
        return f"Nearest: {elsewhere[0]}."
    close = nearest_name(name, [f"{other}.{known}" for other in SECTIONS for known in fields_of(other)])
    return f"Nearest: {close}." if close else ""


def allowed(field: msgspec.structs.FieldInfo) -> str:
    """What a key may be: "a whole number, at least 3, at most 255"."""
    return words_of(plain_type(field.type), literal)


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
        kind = plain_type(field.type)
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
