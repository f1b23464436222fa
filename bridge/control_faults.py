"""What is wrong with a request of the control protocol, in sentences for whoever wrote the program that sent it.

The decoder of `bridge.control_wire` says yes or no; this module is asked after a no, and looks at the fields one by
one: what was given, what it must be, what was probably meant.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
from msgspec import inspect

_KINDS = {
    inspect.BoolType: "true or false", inspect.DictType: "a map", inspect.ListType: "a list", inspect.NoneType: "nil",
    inspect.AnyType: "anything",
}  # fmt: skip
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
        return f"there is no request {_shown(asked)}{meant(asked, list(kinds)) or '.'} There are: {', '.join(kinds)}"
    faults = [text for text in _faults(asked, raw, kinds[asked]) if text]
    return ". ".join(faults) or f"{asked}: not understood"


def meant(given: Any, known: Sequence[str]) -> str:
    """A hint at what was meant; empty if nothing comes near."""
    close = difflib.get_close_matches(str(given), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _faults(asked: str, raw: dict[Any, Any], kind: Any) -> list[str]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    found = []
    for name in raw:
        if name != "ask" and name not in fields:
            known = [each for each in fields if each not in ("v", "id", "run")]
            there = f"It has: {', '.join(known)}" if known else "It has none of its own"
            found.append(f"{asked}: there is no field {_shown(name)}{meant(name, known) or '.'} {there}")
    for name, field in fields.items():
        if name not in raw:
            if field.required:
                found.append(f"{asked}: the field {name!r} is missing; it must be {must_be(field.type)}")
            continue
        try:
            msgspec.convert(raw[name], field.type)
        except (msgspec.ValidationError, OverflowError, RecursionError):
            found.append(f"{asked}: {name} = {_shown(raw[name])} is not allowed; it must be {must_be(field.type)}")
    return found


def must_be(kind: Any) -> str:
    """What a field may be: "a whole number, at least 0, at most 512"."""
    return _words(inspect.type_info(kind))


def _words(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata):
        said = (kind.extra_json_schema or {}).get("description")
        return str(said) if said else _words(kind.type)
    if isinstance(kind, inspect.LiteralType):
        return "one of " + ", ".join(repr(value) for value in kind.values)
    if isinstance(kind, inspect.UnionType):
        return " or ".join(_words(each) for each in kind.types)
    if isinstance(kind, inspect.TupleType):
        return f"{len(kind.item_types)} times {_words(kind.item_types[0])}"
    if isinstance(kind, inspect.DictType) and isinstance(kind.value_type, inspect.BoolType):
        return "a map of names to true or false" + ", not empty" * bool(kind.min_length)
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
    return _KINDS.get(type(kind), "of another kind")


def _a_kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", bytes: "bytes", bool: "a truth value", int: "a number", float: "a number"}
    return kinds.get(type(value), "nothing")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…"
