"""The supervisor: starts, pins, watches, replaces and stops the processes of one run.

`run` does all of it in this process and returns when the run has ended; `start` does it in a process in the background.
Read `supervise` for what happens when, `planning` for which processes there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.supervisor.background import StartedRun as StartedRun
    from engine.supervisor.background import start as start
    from engine.supervisor.summary import RunSummary as RunSummary
    from engine.supervisor.whole_run import run as run

__all__ = ["RunSummary", "StartedRun", "run", "start"]

_HOMES = {"run": "whole_run", "start": "background", "StartedRun": "background", "RunSummary": "summary"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"engine.supervisor.{_HOMES[name]}"), name)
