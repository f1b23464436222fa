"""All benchmarks, one after the other, on one page: `python -m perf` (or `make bench`).

    python -m perf                              some minutes; writes perf/results/README.md and its plots
    python -m perf --quick --out /tmp/results   a look
    python -m perf --only ring main_job         some of them

Each benchmark runs in a process of its own with `--json`; one that fails is on the page with its error, and the exit
status is 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf.common import say

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Benchmark:
    """One program of this folder: what to draw of it, and how to run it in seconds instead of minutes."""

    name: str  # the module
    bars: str = ""  # the column that is drawn; "": no plot
    quick: tuple[str, ...] = ()


BENCHMARKS = (
    Benchmark("ring", "hop p50 ms", ("--seconds", "0.5", "--turns", "1")),
    Benchmark("wakeup", "p50 µs", ("--wakes", "100", "--idle-s", "0.5")),
    Benchmark("locate", "double x", ("--sizes", "512", "--repeats", "3")),
    Benchmark("link", "", ("--particles", "100", "1000", "--frames", "10")),
    Benchmark("tiles", "relative", ("--size", "512", "--repeats", "3")),
    Benchmark("accuracy", "", ("--frames", "1", "--out", "/tmp")),
    Benchmark("transport", "both CPU ms", ("--sizes", "512", "--seconds", "1")),
    Benchmark("scaling", "frames/s", ("--sizes", "512", "--repeats", "2", "--seconds", "0.5")),
    Benchmark("engine", "all CPU ms", ("--seconds", "3", "--short", "2", "--sizes", "512")),
    Benchmark("interfaces", "", ("--seconds", "2", "--only", "client")),
    Benchmark("archive", "", ("--side", "512", "--seconds", "2", "--efforts", "1")),
    Benchmark("recording", "frames/s", ("--frames", "4", "--turns", "1")),
    Benchmark("sustained", "", ("--minutes", "0.05", "--short", "3", "--size", "512")),
    Benchmark("lsl", "", ("--pushes", "50")),
    Benchmark("light_loop", "", ("--seconds", "3")),
    Benchmark("main_job", "frames/s", ("--seconds", "3", "--sizes", "512")),
)


def run(benchmark: Benchmark, quick: bool) -> dict[str, Any]:
    """What it wrote as JSON; {"error": how it ended} if it failed."""
    command = [sys.executable, "-m", f"perf.{benchmark.name}", "--json", *(benchmark.quick if quick else ())]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # its progress goes to stderr
    try:
        if done.returncode == 0:
            found: dict[str, Any] = json.loads(done.stdout)
            return found
    except json.JSONDecodeError:
        pass
    return {"error": f"exit status {done.returncode}\n{done.stdout[-1500:]}".strip()}


def draw(benchmark: Benchmark, found: Mapping[str, Any], folder: Path) -> str:
    """The plot's file name; "" if there is nothing to draw."""
    rows = found["rows"]
    if not rows or benchmark.bars not in rows[0]:
        return ""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    text = [name for name, value in rows[0].items() if isinstance(value, str)]
    labels = [", ".join(row[name] for name in text) for row in rows]
    values = [row[benchmark.bars] for row in rows]
    figure, axes = plt.subplots(figsize=(8, 0.8 + 0.38 * len(rows)), dpi=100, layout="constrained")
    bars = axes.barh(labels, values, color="tab:blue", height=0.6)
    axes.bar_label(bars, fmt="%.3g", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(xlabel=benchmark.bars, title=found["benchmark"])
    axes.title.set_size(10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / f"{benchmark.name}.png")
    plt.close(figure)
    return f"{benchmark.name}.png"


def section(benchmark: Benchmark, found: Mapping[str, Any], picture: str) -> str:
    """Its part of the page."""
    command = f"`python -m perf.{benchmark.name}`"
    if "error" in found:
        return f"## perf.{benchmark.name}\n\nIt failed ({command}):\n\n```\n{found['error']}\n```\n"
    busy = found["machine"]["load_before"]
    quiet = "" if busy <= 0.3 * found["machine"]["cores"] else f" The machine was not quiet: load {busy:.1f} before."
    parts = [f"## {found['benchmark']}", as_markdown(found["rows"]), f"{command}.{quiet}"]
    if picture:
        parts.insert(2, f"![{found['benchmark']}]({picture})")
    for title, rows in found.get("tables", {}).items():
        parts += [f"### {title}", as_markdown(rows)]
    return "\n\n".join(parts) + "\n"


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows, whose keys are the columns, as a table."""
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(cell(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def cell(value: Any) -> str:
    """A value as it stands in the table; what was not measured is a dash."""
    if value is None or value != value:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def page(results: Mapping[Benchmark, Mapping[str, Any]], folder: Path) -> str:
    """The whole page; draws the plots."""
    machine = next((found["machine"] for found in results.values() if "machine" in found), None)
    head = ["# Benchmarks\n", f"Made by `make bench` on {time.strftime('%Y-%m-%d')}."]
    if machine:
        virtual = ", virtual" if machine["virtual"] else ""
        head.append(
            f"{machine['cpu']}, {machine['cores']} cores{virtual}, {machine['memory_gib']} GiB, {machine['system']}, "
            f"Python {machine['python']}, numpy {machine['numpy']}."
        )
    sections = [
        section(benchmark, found, "" if "error" in found else draw(benchmark, found, folder))
        for benchmark, found in results.items()
    ]
    return "\n".join(head) + "\n\n" + "\n".join(sections)


def main() -> int:
    """Run them and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER / "results", help="folder of the page, its plots and JSON")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes: a look, no figures to quote")
    parser.add_argument("--only", nargs="+", choices=[b.name for b in BENCHMARKS], help="these alone")
    options = parser.parse_args()
    there = [b for b in BENCHMARKS if (FOLDER / f"{b.name}.py").exists()]
    options.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for benchmark in there:
        if options.only and benchmark.name not in options.only:
            continue
        say(f"perf.{benchmark.name} …")
        found = run(benchmark, options.quick)
        results[benchmark] = found
        (options.out / f"{benchmark.name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        say(f"perf.{benchmark.name}: " + ("failed" if "error" in found else f"{len(found['rows'])} rows"))
    (options.out / "README.md").write_text(page(results, options.out), encoding="utf-8")
    print(options.out / "README.md")
    return int(any("error" in found for found in results.values()))


if __name__ == "__main__":
    sys.exit(main())
