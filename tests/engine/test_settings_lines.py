"""The scanner that finds on which line of a TOML file a key stands."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.toml_lines import key_lines

CASES = {
    "plain keys": ("a = 1\nb = 2\n", {("a",): 1, ("b",): 2}),
    "a table": ("\n[t]\n# remark\na = 1", {("t",): 2, ("t", "a"): 4}),
    "quoted keys": ('["my t"]\n\'a b\' = 1\n"q\\"" = 2', {("my t",): 1, ("my t", "a b"): 2, ("my t", 'q"'): 3}),
    "dotted keys": ("x . 'y' .z = 1", {("x",): 1, ("x", "y"): 1, ("x", "y", "z"): 1}),
    "dotted tables": ("[a.b]\nc=1", {("a", "b"): 1, ("a", "b", "c"): 2}),
    "a long text": ('a = """\nb = 1\n\\""" # not the end\n"""\nc = 2', {("a",): 1, ("c",): 5}),
    "a long text that ends in quotes": ('a = """x"""""\nc = 2', {("a",): 1, ("c",): 2}),
    "a long literal": ("a = '''\nb = 1\\'''\nc = 2", {("a",): 1, ("c",): 3}),
    "an array of several lines": ("a = [\n 1, # ]\n 'x]', [2],\n]\nb = 1", {("a",): 1, ("b",): 5}),
    "an inline table": ("t = { a = 1, b.c = '}' }\nd = 1", {("t",): 1, ("t", "a"): 1, ("t", "b", "c"): 1, ("d",): 2}),
    "an equals sign in a text": ("a = '='\nb = \"#\" # = [x]\nc = 1", {("a",): 1, ("b",): 2, ("c",): 3}),
    "dates": ("a = 2026-11-21T10:00:00Z\nb = 1979-05-27 07:32:00", {("a",): 1, ("b",): 2}),
    "tables of an array": ("[[t]]\na = 1\n[[t]]\na = 2", {("t",): 1, ("t", "a"): 2}),
    "line ends of Windows": ("a = 1\r\n[t]\r\nb = '''\r\n'''\r\nc = 1\r\n", {("a",): 1, ("t", "b"): 3, ("t", "c"): 5}),
    "nothing": ("", {}),
    "only a remark": ("# a = 1", {}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_line_of_a_key_is_found_in(name: str) -> None:
    text, expected = CASES[name]
    tomllib.loads(text)
    found = key_lines(text)
    assert {path: found.get(path) for path in expected} == expected


NAMES = st.text(alphabet="ab-_ .\"'#=[]", min_size=1, max_size=4)
SCALARS = st.one_of(
    st.integers(-9, 9).map(str),
    st.sampled_from(
        ["true", "1.5e3", "inf", "2026-01-02", "'#'", '"]"', '"\\""', "'''\n[x]\n'''", '"""\n\\"a = 1\n"""']
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3).map(lambda items: "[\n" + " , # ]\n".join(items) + "\n]"),
    max_leaves=5,
)


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=4), max_size=4))
def test_every_key_of_any_file_has_the_line_where_it_was_written(tables: dict[str, dict[str, str]]) -> None:
    text, expected = "", {}
    for table, pairs in tables.items():
        expected[table,] = text.count("\n") + 1
        text += f"[ {_quoted(table)} ] # [no]\n"
        for key, value in pairs.items():
            expected[table, key] = text.count("\n") + 1
            text += f"\t{_quoted(key)}= {value} # remark = 1\n\n"
    tomllib.loads(text)
    assert key_lines(text) == expected
