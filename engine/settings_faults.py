"""What is wrong with settings: where a value came from, one fault, and what a rule is that finds some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from engine.experiment import Experiment


@dataclass(frozen=True)
class Given:
    """A value that somebody gave, and where: "experiment.toml, line 14"."""

    value: Any
    place: str
    faulty: bool = False


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: subject, fact and limit, place, remedy."""

    key: str
    fact: str
    place: str = ""
    remedy: str = ""
    depends_on: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        remedy = f". {self.remedy}" if self.remedy else ""
        return f"{self.key}: {self.fact}{place}{remedy}"


Rule = Callable[[Experiment], Iterator[Fault]]
"""Yields what is wrong with an experiment."""
