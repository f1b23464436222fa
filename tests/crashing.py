"""Kill a process exactly at a step of a protocol: the crash points of the tests.

Every protocol in shared memory is a generator that yields the name of the step it is about to take, and production
calls the function named by `RINGTRACK_STEP_HOOK` with it (`engine.shm.steps`). This module is that function, `at`, and
what a test needs around it:

    plan = CrashPlan(tmp_path / "crashes")
    plan.crash("link.5", process="linker", nth=3, times=2)   # before its third commit, in its first two lives
    subprocess.Popen([..., "linker", ...], env={**os.environ, **plan.environment()})
    ...
    assert plan.happened() == ["link.5", "link.5"]

- `step` is a name that production yields, `nth` the how-manyeth pass of one life of a process, `times` in how many
  lives it happens altogether. `process` is a word of the command line (the name of an engine process is one); None:
  whoever comes there. `signum` may be SIGSTOP: then the process hangs there, and `pids` says which one it is.
- That a crash has happened is a file made with O_EXCL just before the signal, so any number of processes and lives
  agree on how often it did, and nothing needs to be told between them.
- `watch_steps` keeps the names of all steps that were passed, `steps_seen` gives them.
- `steps_in_source` reads the names out of the code: a test can hold its table of cases against it.

The module is copied into the plan's folder and imported from there, so that `tests/`, whose folders are called like our
packages, is never on the path of a process under test. It imports nothing of ours.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FOLDER = "RINGTRACK_CRASHES"
_PLAN, _SEEN = "plan.json", "seen"


class CrashPlan:
    """Crashes that are to happen to processes started with `environment()`; `folder` is the plan's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._rules: list[dict[str, Any]] = []
        self._watch = False
        self._write()

    def crash(
        self, step: str, *, process: str | None = None, nth: int = 1, times: int = 1, signum: int = signal.SIGKILL
    ) -> None:
        """Let it happen; may be said before or after the processes start, but not once one has passed a step."""
        self._rules.append({"step": step, "process": process, "nth": nth, "times": times, "signum": int(signum)})
        self._write()

    def watch_steps(self) -> None:
        """Keep the names of all steps that are passed."""
        self._watch = True
        (self.folder / _SEEN).mkdir(exist_ok=True)
        self._write()

    def environment(self) -> dict[str, str]:
        """What the processes need in their environment besides their own."""
        shutil.copy(__file__, self.folder / "crashing.py")
        paths = [str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            "RINGTRACK_STEP_HOOK": "crashing:at",
            FOLDER: str(self.folder),
            "PYTHONPATH": os.pathsep.join(paths),
        }

    def happened(self) -> list[str]:
        """The steps at which a process was killed so far, once for each time."""
        return sorted(json.loads(path.read_text())["step"] for path in self.folder.glob("crash-*"))

    def pids(self) -> list[int]:
        """The processes that were killed or stopped."""
        return [json.loads(path.read_text())["pid"] for path in self.folder.glob("crash-*")]

    def steps_seen(self) -> set[str]:
        """With `watch_steps`: names of the steps that were passed."""
        return {path.name for path in (self.folder / _SEEN).iterdir()}

    def _write(self) -> None:
        beside = self.folder / f"{_PLAN}.new"
        beside.write_text(json.dumps({"rules": self._rules, "watch": self._watch}))
        beside.rename(self.folder / _PLAN)


class _Listener:
    """The plan as a process under test reads it, at its first step."""

    def __init__(self, folder: Path) -> None:
        plan = json.loads((folder / _PLAN).read_text())
        self._folder = folder
        self._rules: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        for i, rule in enumerate(plan["rules"]):
            if rule["process"] is None or rule["process"] in sys.argv:
                self._rules.setdefault(rule["step"], []).append((i, rule))
        self._watch = plan["watch"]
        self._passes: Counter[str] = Counter()

    def at(self, step: str) -> None:
        self._passes[step] += 1
        if self._watch and self._passes[step] == 1:
            (self._folder / _SEEN / step.replace("/", "_")).touch()
        for i, rule in self._rules.get(step, ()):
            if self._passes[step] == rule["nth"]:
                for n in range(rule["times"]):
                    if self._first_to_make(f"crash-{i}-{n}", step):
                        os.kill(os.getpid(), rule["signum"])
                        break

    def _first_to_make(self, name: str, step: str) -> bool:
        # Written beside and linked: a marker is never seen half written.
        beside = self._folder / f".{name}-{os.getpid()}"
        beside.write_text(json.dumps({"step": step, "pid": os.getpid()}))
        try:
            os.link(beside, self._folder / name)
        except FileExistsError:
            return False
        finally:
            beside.unlink()
        return True


_listener: _Listener | None = None


def at(step: str) -> None:
    """The hook: called by production before each step."""
    global _listener
    if _listener is None:
        _listener = _Listener(Path(os.environ[FOLDER]))
    _listener.at(step)


_NAMED_STEP = re.compile(r"[a-z_]{2,}\.\d+")  # two letters or more: `open(path, "w")` names a mode


def steps_in_source(folders: Iterable[Path]) -> set[str]:
    """Names of all steps that the code under these folders can yield.

    A name is a literal ("unit.4"), or f"{name}.4" in a function that is called with a literal name, anywhere.
    """
    literal: set[str] = set()
    parts: dict[str, set[str]] = {}  # function: endings of the steps it yields under a name it is given
    calls: list[tuple[str, str]] = []
    for path in sorted(p for folder in folders for p in folder.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for node in ast.walk(function):
                value = node.value if isinstance(node, ast.Yield) else None
                if isinstance(value, ast.Constant) and _NAMED_STEP.fullmatch(str(value.value)):
                    literal.add(str(value.value))
                elif isinstance(value, ast.JoinedStr) and isinstance(value.values[-1], ast.Constant):
                    parts.setdefault(function.name, set()).add(str(value.values[-1].value))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Attribute) and len(call.args) == 2 and isinstance(call.args[1], ast.Constant):
                calls.append((call.func.attr, str(call.args[1].value)))
    # `publish` runs `commit` under the name that it was given.
    parts["publish"] = parts.get("publish", set()) | parts.get("commit", set())
    named = {name + ending for function, name in calls for ending in parts.get(function, ())}
    return literal | {step for step in named if _NAMED_STEP.fullmatch(step)}
