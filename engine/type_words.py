"""What a value of a type may be, in words for messages: keys of the settings, fields of requests."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import inspect

_KINDS = {
    inspect.BoolType: "true or false", inspect.DictType: "a map", inspect.ListType: "a list", inspect.NoneType: "nil",
    inspect.AnyType: "anything",
}  # fmt: skip


def plain_type(kind: Any) -> inspect.Type:
    """What msgspec knows of a type, without what is only said about it."""
    found = inspect.type_info(kind)
    return found.type if isinstance(found, inspect.Metadata) else found


def words_of(kind: inspect.Type, shown: Callable[[Any], str] = repr) -> str:
    """What it may be: "a whole number, at least 3, at most 255"; a description of its own is taken as it is.

    `shown`: how a value is written.
    """
    if isinstance(kind, inspect.Metadata):
        said = (kind.extra_json_schema or {}).get("description")
        return str(said) if said else words_of(kind.type, shown)
    if isinstance(kind, inspect.LiteralType):
        return "one of " + ", ".join(shown(value) for value in sorted(kind.values, key=str))
    if isinstance(kind, inspect.UnionType):
        return " or ".join(words_of(each, shown) for each in kind.types)
    if isinstance(kind, inspect.TupleType):
        return f"{len(kind.item_types)} times {words_of(kind.item_types[0], shown)}"
    if isinstance(kind, inspect.VarTupleType):
        return f"a list of {words_of(kind.item_type, shown)}s"
    if isinstance(kind, inspect.DictType) and isinstance(kind.value_type, inspect.BoolType):
        return "a map of names to true or false" + ", not empty" * bool(kind.min_length)
    if isinstance(kind, inspect.StrType):
        return ", ".join(["text", *_lengths(kind)])
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        return ", ".join(["a whole number" if isinstance(kind, inspect.IntType) else "a number", *_limits(kind)])
    return _KINDS.get(type(kind), "of another kind")


def nearest_name(given: Any, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The name that was probably meant; empty if none comes near."""
    return next(iter(difflib.get_close_matches(str(given), list(known), n=1, cutoff=cutoff)), "")


def _lengths(kind: inspect.StrType) -> list[str]:
    least, most = kind.min_length or 0, kind.max_length
    words = ["not empty"] if least == 1 else [f"at least {least} letters"] if least else []
    return words + ([] if most is None else [f"at most {most} letters"])


def _limits(kind: inspect.IntType | inspect.FloatType) -> list[str]:
    given = (kind.gt, "above"), (kind.ge, "at least"), (kind.lt, "below"), (kind.le, "at most")
    return [f"{phrase} {limit:g}" for limit, phrase in given if limit is not None]
