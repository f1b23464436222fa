"""The closing account of a run, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.cli.output import table

if TYPE_CHECKING:
    from engine.supervisor.summary import RunSummary

MOST_RANGES = 20


def account_text(summary: RunSummary) -> str:
    """What came in, what went out and what was lost at each step, by number; then figures and where the files are."""
    rows: list[tuple[str, ...]] = [("step", "in", "out", "lost", "in flight")]
    rows += [(s.step, str(s.arrived), str(s.out), str(s.lost), str(s.in_flight)) for s in summary.accounting]
    parts = [_right(rows)]
    if summary.lost:
        parts.append(_lost(summary))
    latency = summary.latency_ms
    if summary.frames_tracked:
        figures = [
            ("frames", f"{summary.fps:g} a second, {summary.features_mean:g} features each"),
            ("latency", " ".join(f"{name} {latency[name]:.3g}" for name in ("p50", "p99", "max")) + " ms"),
        ]
    else:
        figures = [("frames", "none was tracked" if summary.frames_received else "none came")]
    figures += [(pictures.recorder, pictures.words()) for pictures in summary.pictures]
    removed = ", ".join(f"{name} {count}" for name, count in summary.filtered.items() if count)
    if removed:
        figures.append(("filtered", removed))
    if summary.overflow:
        figures.append(("cut", f"{summary.overflow} features beyond ring.max_particles"))
    if summary.restarts:
        figures.append(("started again", ", ".join(f"{name} {times}x" for name, times in summary.restarts.items())))
    held = ", ".join(f"{who} {ms:.0f} ms" for who, ms in summary.held_ms.items() if ms >= 1)
    if held:
        figures.append(("waited for", held))
    figures.append(("files", summary.run_folder))
    parts.append(table(figures))
    return "\n\n".join(parts)


def _lost(summary: RunSummary) -> str:
    shown = summary.lost[:MOST_RANGES]
    rows = [
        ("lost", f"{r.first}" if r.first == r.last else f"{r.first} to {r.last}", f"at {r.step}: {r.cause}")
        for r in shown
    ]
    more = len(summary.lost) - len(shown)
    return table(rows) + (f"\n      and {more} more ranges: /accounting/lost in the file" if more else "")


def _right(rows: list[tuple[str, ...]]) -> str:
    """The first column to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = (
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in rows
    )
    return "\n".join(lines)
