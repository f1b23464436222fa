"""Figures as Prometheus reads them (text format 0.0.4)."""

from __future__ import annotations

import math
from typing import Any

_GAUGES = {
    "process_rate": ("frames_per_second", "Frames published a second"),
    "receive_rate": ("received_frames_per_second", "Frames received a second"),
    "track_count": ("particles", "Particles in the newest frame"),
    "queue_depth": ("queue_depth_frames", "Frames received and not published yet"),
    "ring_slots": ("ring_slots", "Frames that the ring holds"),
    "worker_utilisation": ("worker_utilisation_ratio", "Share of their time that trackers work"),
    "settings": ("settings_version", "Version of the settings of the newest frame"),
}
_COUNTS = {
    "received": ("received_frames_total", "Frames received"),
    "tracked": ("tracked_frames_total", "Frames tracked and linked"),
    "recorded": ("recorded_frames_total", "Frames in the HDF5 file"),
    "lost": ("lost_frames_total", "Frames lost before the recorders"),
    "bytes_recorded": ("recorded_bytes_total", "Bytes written by recorders"),
}

_BY_NAME = {
    "frame_count": "Frames tracked so far",
    "track_count": "Particles in the newest frame",
    "process_rate": "Frames published a second",
    "error_count": "Frames lost before the recorders, and frames whose tracking failed",
    "mean_ms": "From received to published, mean over the newest frames",
    "peak_ms": "From received to published, the longest of the run",
    "queue_depth": "Frames received and not published yet",
    "worker_utilisation": "Share of their time that trackers work, 0 to 1",
}
"""Under the names that `Client.metrics` has, besides those that Prometheus's customs ask for."""


def as_text(metrics: dict[str, Any], viewers: int) -> str:
    """One metric a line, each with its help and type."""
    lines: list[str] = []
    for kind, table in (("gauge", _GAUGES), ("counter", _COUNTS)):
        for key, (name, says) in table.items():
            lines += [f"# HELP ringtrack_{name} {says}", f"# TYPE ringtrack_{name} {kind}"]
            lines.append(f"ringtrack_{name} {_number(metrics[key])}")
    for key, says in _BY_NAME.items():
        lines += [f"# HELP ringtrack_{key} {says}", f"# TYPE ringtrack_{key} gauge"]
        lines.append(f"ringtrack_{key} {_number(metrics[key])}")
    lines += [
        "# HELP ringtrack_step_seconds Time of a step over the newest frames",
        "# TYPE ringtrack_step_seconds gauge",
    ]
    for step, figures in metrics["step_ms"].items():
        for quantile, key in (("0.5", "p50"), ("0.99", "p99")):
            lines.append(
                f'ringtrack_step_seconds{{step="{step}",quantile="{quantile}"}} {_number(figures[key] / 1000)}'
            )
    lines += ["# HELP ringtrack_process_up Whether a process is ready", "# TYPE ringtrack_process_up gauge"]
    for name, process in metrics["processes"].items():
        lines.append(f'ringtrack_process_up{{process="{name}"}} {int(process["state"] in ("ready", "spare"))}')
    lines += ["# TYPE ringtrack_viewers gauge", f"ringtrack_viewers {viewers}"]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.10g}"
