"""What all benchmarks share: which machine it was, figures from times, a table for people and JSON for machines."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Times of one thing done many times, in the unit they were given in."""

    count: int
    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if not len(values):
            return cls(0, float("nan"), float("nan"), float("nan"))
        p50, p99, top = np.quantile(np.asarray(values, np.float64), [0.5, 0.99, 1.0])
        return cls(len(values), float(p50), float(p99), float(top))


def machine() -> dict[str, Any]:
    """This computer, so that figures can be told from those of another, and what else it had to do."""
    return {
        "host": platform.node(),
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "virtual": "hypervisor" in (_field("/proc/cpuinfo", "flags") or ""),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "load_before": os.getloadavg()[0],
    }


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    return parser


def report(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    machine_was: Mapping[str, Any],
    *,
    notes: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
    tables: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    as_json: bool = False,
) -> None:
    """Print the rows, whose keys are the columns and alike in all, then the notes, then further `tables` by title.

    `facts` are numbers that belong to the whole; they are in the JSON only.
    """
    if as_json:
        document = {"benchmark": title, "machine": machine_was, "rows": rows, "tables": tables or {}, **(facts or {})}
        print(json.dumps(document, indent=1, default=float))
        return
    print(f"{title}\n")
    print(table(rows))
    m = machine_was
    virtual = ", virtual" if m["virtual"] else ""
    print(f"\n{m['cpu']}, {m['cores']} cores{virtual}, {m['memory_gib']} GiB, {m['system']}, Python {m['python']}")
    if m["load_before"] > 0.3 * m["cores"]:
        print(f"The machine was not quiet: load {m['load_before']:.1f} before the measurement.")
    for note in notes:
        print(note)
    for name, lines in (tables or {}).items():
        print(f"\n{name}\n\n{table(lines)}")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows under their keys, numbers to the right."""
    columns = list(rows[0])
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
    numeric = [isinstance(rows[0][column], int | float) for column in columns]

    def line(values: Sequence[str]) -> str:
        padded = [v.rjust(w) if right else v.ljust(w) for v, w, right in zip(values, widths, numeric)]
        return "  ".join(padded).rstrip()

    return "\n".join([line(columns), line(["-" * width for width in widths]), *(line(values) for values in cells)])


def say(text: str) -> None:
    """Progress, for people."""
    print(text, file=sys.stderr, flush=True)


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _field(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
