"""Everything to a disk and back: the recorders' processes, the files of a run, opening a finished one.

The public names are loaded when they are asked for: a recorder's process must not import pandas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recorders.run import Run as Run

__all__ = ["Run"]


def __getattr__(name: str) -> Any:
    if name == "Run":
        from recorders.run import Run

        return Run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
