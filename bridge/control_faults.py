"""What is wrong with a request of the control protocol, in sentences for whoever wrote the program that sent it.

The decoder of `bridge.control_wire` says yes or no; this module is asked after a no, and looks at the fields one by
one: what was given, what it must be, what was probably meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import msgspec
from msgspec import inspect

from engine.type_words import nearest_name, words_of

MOST_SHOWN = 60  # letters of a value that are shown


def fault_of(raw: Any, requests: Any) -> str:
    """Why `raw` is none of `requests` (a union of structs, told apart by their tags)."""
    if not isinstance(raw, dict):
        return f"a request is a map, this is {_a_kind(raw)}"
    kinds = {kind.__struct_config__.tag: kind for kind in get_args(requests)}
    asked = raw.get("ask")
    if asked is None:
        return f'a request says what it asks, as ask = "hello"; this one has no `ask`. There are: {", ".join(kinds)}'
    if not isinstance(asked, str) or asked not in kinds:
        return f"there is no request {_shown(asked)}{_meant(asked, list(kinds))} There are: {', '.join(kinds)}"
    faults = [text for text in _faults(asked, raw, kinds[asked]) if text]
    return ". ".join(faults) or f"{asked}: not understood"


def _faults(asked: str, raw: dict[Any, Any], kind: Any) -> list[str]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    found = []
    for name in raw:
        if name != "ask" and name not in fields:
            known = [each for each in fields if each not in ("v", "id", "run")]
            there = f"It has: {', '.join(known)}" if known else "It has none of its own"
            found.append(f"{asked}: there is no field {_shown(name)}{_meant(name, known)} {there}")
    for name, field in fields.items():
        if name not in raw:
            if field.required:
                found.append(f"{asked}: the field {name!r} is missing; it must be {_must_be(field.type)}")
            continue
        try:
            msgspec.convert(raw[name], field.type)
        except (msgspec.ValidationError, OverflowError, RecursionError):
            found.append(f"{asked}: {name} = {_shown(raw[name])} is not allowed; it must be {_must_be(field.type)}")
    return found


def _must_be(kind: Any) -> str:
    return words_of(inspect.type_info(kind))


def _meant(given: Any, known: Sequence[str]) -> str:
    near = nearest_name(given, known)
    return f"; did you mean {near!r}?" if near else "."


def _a_kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", bytes: "bytes", bool: "a truth value", int: "a number", float: "a number"}
    return kinds.get(type(value), "nothing")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…"
