"""Rules that start a recording."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import SettingsError
from engine.experiment import Experiment
from engine.rows import ROW
from engine.triggers import parse_trigger


def rows(*at: tuple[float, float]) -> np.ndarray:
    table = np.zeros(len(at), ROW)
    table["y"], table["x"] = np.reshape(at, (-1, 2)).T
    return table


@pytest.mark.parametrize(
    "text, particles, pulled",
    [
        ("count >= 2", [(0, 0), (1, 1)], True), ("count>=2", [(0, 0)], False), ("count < 1", [], True),
        ("count <= 1", [(0, 0), (1, 1)], False), ("count > 1", [(0, 0), (1, 1)], True),
        ("inside 10:20, 30:40", [(0, 0), (15, 35)], True), ("inside 10:20, 30:40", [(35, 15)], False),
        ("inside 10:20, 30:40", [], False),
    ],
)  # fmt: skip
def test_a_rule_looks_at_the_particles(text: str, particles: list[tuple[float, float]], pulled: bool) -> None:
    trigger = parse_trigger(text)
    assert trigger is not None
    assert trigger.of_rows is not None
    assert trigger.of_rows(rows(*particles)) is pulled
    assert not trigger.of_event("laser on")


def test_a_rule_waits_for_words_of_an_event() -> None:
    trigger = parse_trigger("marker laser on")
    assert trigger is not None
    assert trigger.of_rows is None
    assert trigger.of_event("Laser on, 50 mW")
    assert not trigger.of_event("laser off")


@pytest.mark.parametrize("text", ["count", "count = 5", "inside 20:10, 0:5", "inside", "marker", "particles > 5"])
def test_what_is_not_understood_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(ValueError):
        parse_trigger(text)
    with pytest.raises(SettingsError, match="inside y0:y1"):
        Experiment.load(None, [f"record.trigger={text}"])


def test_no_rule() -> None:
    assert parse_trigger(" ") is None
