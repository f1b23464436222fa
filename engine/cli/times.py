"""Times on the command line: 10s, 500ms, 2min, 1:30."""

from __future__ import annotations

from typing import Any

import click


class Seconds(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click alone
    """A time: 90, 90s, 500ms, 2min, 1:30."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        if isinstance(value, float | int):
            return float(value)
        try:
            return seconds_of(str(value))
        except ValueError:
            self.fail(f"{value} is no time. Write 10s, 500ms, 2min, 1:30 or seconds", param, context)


def seconds_of(text: str) -> float:
    """Seconds of "10s", "500ms", "2min", "1:30", "1h", "12.5". Raises ValueError."""
    text = text.strip().lower()
    if ":" in text:
        seconds = 0.0
        for part in text.split(":"):
            seconds = seconds * 60 + float(part)
    else:
        unit = next((unit for unit in ("ms", "min", "s", "m", "h") if text.endswith(unit)), "")
        factor = {"ms": 1e-3, "min": 60.0, "m": 60.0, "h": 3600.0}.get(unit, 1.0)
        seconds = float(text.removesuffix(unit)) * factor
    if not 0 <= seconds < 1e9:
        raise ValueError(text)
    return seconds
