"""Protocols as numbered steps: what a process may have done when it dies.

Every protocol of this package is written as a generator that yields the name of the step it is about to take
("publish.5"). `run` drives it to the end. A test can stop at any yield instead: kill the process there, or drop the
generator and let another actor of the same process go on. So what is tested is what runs.

Outside tests nothing listens: `RINGTRACK_STEP_HOOK` is unset, and a yield costs 50 ns.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[str, None, T]
"""Yields the name of each step before it is taken; returns what the protocol is for."""


def _hook() -> Callable[[str], None] | None:
    target = os.environ.get("RINGTRACK_STEP_HOOK")
    if not target:
        return None
    module, _, function = target.partition(":")
    hook: Callable[[str], None] = getattr(importlib.import_module(module), function)
    return hook


_at = _hook()


def run(steps: Steps[T]) -> T:
    """Take all steps; what the protocol returns."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if _at is not None:
            _at(step)
