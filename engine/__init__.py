"""ringtrack's engine: tracks particles in camera frames while they arrive.

`Experiment` is the typed settings, `start` runs one experiment; `locate`, `batch` and `link` are trackpy's functions of
these names, with the engine's own arithmetic. Every name is loaded when it is first used, so that a process pays only
for what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.batching import batch as batch
    from engine.experiment import Experiment as Experiment
    from engine.linking import link as link
    from engine.linking import link_iter as link_iter
    from engine.locating import locate as locate
    from engine.supervisor import start as start

_HOMES = {
    "Experiment": "engine.experiment",
    "batch": "engine.batching",
    "link": "engine.linking",
    "link_iter": "engine.linking",
    "locate": "engine.locating",
    "start": "engine.supervisor",
}
__all__ = ["Experiment", "batch", "link", "link_iter", "locate", "start"]


def __getattr__(name: str) -> Any:
    """Load a public name from the module it lives in (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
