"""How commands speak: results to stdout, talk to stderr, sizes in words."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def result(text: str) -> None:
    """A line of what was asked for."""
    click.echo(text)


def result_json(value: Mapping[str, Any]) -> None:
    """What was asked for, as one JSON object. A number that JSON does not have (NaN) is null."""
    click.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def talk(text: str) -> None:
    """A line that is not what was asked for: progress, a warning."""
    click.echo(text, err=True)


def table(rows: Iterable[Sequence[str]], indent: str = "") -> str:
    """Rows in columns, each as wide as its widest entry; the last one runs free."""
    rows = [list(row) for row in rows]
    columns = max((len(row) for row in rows), default=0)
    widths = [max(len(row[i]) for row in rows if len(row) > i) for i in range(columns)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)
    return "\n".join(indent + line for line in lines)


def size(count: float) -> str:
    """Bytes for people: "8.0 MiB"."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def duration(seconds: float) -> str:
    """A time for people: "2 h 5 min", "42 s"."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.1f} days"


def settings_options(command: F) -> F:
    """`--set section.key=value`, as often as wanted."""
    option = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Another value for a key, as in --set tracking.diameter=11. May be given several times.",
    )
    return option(command)


def data_option(command: F) -> F:
    """`--data FOLDER`: where runs are looked for by their names (`recorders.named`)."""
    option = click.option(
        "--data", type=click.Path(path_type=Path), default="data", show_default=True, help="Where runs are."
    )
    return option(command)


def json_option(command: F) -> F:
    """`--json`: for machines."""
    return click.option("--json", "as_json", is_flag=True, help="Write the result as one JSON object.")(command)


def interactive() -> bool:
    """Whether a person looks at stderr."""
    return sys.stderr.isatty()


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, where a person looks at it: call it with what is done and what there is in all."""
    if not interactive():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
