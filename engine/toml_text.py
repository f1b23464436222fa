"""Writes an experiment as a settings file in which every key has its comment."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from engine.experiment import Experiment, Section

_HEAD = """\
# An experiment of ringtrack. Every key may be left out; it then has the value that stands here by default.
# `ringtrack check THIS_FILE` says what it means for this machine, `ringtrack run THIS_FILE` starts it.
# base = "lab.toml"                    # the laboratory's defaults, read before this file
"""
_COMMENT_COLUMN = 36


def to_toml(experiment: Experiment) -> str:
    """The whole file, ending in a line break."""
    parts = [_HEAD]
    for field in msgspec.structs.fields(Experiment):
        value = getattr(experiment, field.name)
        parts.append(_section(field.name, value) if isinstance(value, Section) else _notes(field.name, value))
    return "\n".join(parts)


def description(field: msgspec.structs.FieldInfo) -> str:
    """What a key means: the description in its type."""
    info = msgspec.inspect.type_info(field.type)
    extra = info.extra_json_schema or {} if isinstance(info, msgspec.inspect.Metadata) else {}
    return str(extra.get("description", ""))


def literal(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return "[" + ", ".join(literal(item) for item in value) + "]"


def _section(name: str, section: Section) -> str:
    lines = [f"[{name}]".ljust(_COMMENT_COLUMN) + f"# {(type(section).__doc__ or '').strip()}"]
    for field in msgspec.structs.fields(section):
        setting = f"{field.encode_name} = {literal(getattr(section, field.name))}"
        lines.append(setting.ljust(_COMMENT_COLUMN - 1) + f" # {description(field)}")
    return "\n".join(lines) + "\n"


def _notes(name: str, notes: Mapping[str, Any]) -> str:
    lines = [f"[{name}]".ljust(_COMMENT_COLUMN) + "# operator, sample, objective, laser_mW, comment; any key"]
    lines += [f"{_key(key)} = {literal(value)}" for key, value in notes.items()]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else literal(key)
