"""`ringtrack send`: frames from here to a run, wherever that is. Portable: this runs on the camera PC."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import output

if TYPE_CHECKING:
    from bridge.send import Report
    from bridge.sender import Statistics


@click.command()
@click.argument("source")
@click.option("--to", "address", default="tcp://127.0.0.1:50052", show_default=True, help="Where the run listens.")
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), help="Pace of a stack or finished folder.")
@click.option("--finished", is_flag=True, help="The folder is finished: send what is there, and end.")
@click.option("--delete-sent", is_flag=True, help="Delete a file once its frame is in the ring, never before.")
@click.option("--poll", is_flag=True, help="Look into the folder instead of waiting for events: for network drives.")
@click.option(
    "--numbering",
    type=click.Choice(["name", "index"]),
    default="name",
    show_default=True,
    help="A file's frame counter: the number in its name, or its place in the order.",
)
@click.option("--name", help="What the run calls this source; a sender of the same name resumes.")
@click.option("--idle", "idle_s", type=click.FloatRange(min=0), default=0.0, help="End after so many seconds idle.")
@click.option("--wait", "wait_s", type=click.FloatRange(min=0), help="Seconds to wait for the run; else without end.")
@click.option("--truth", type=click.Path(path_type=Path), help="Where `simulated` writes where its beads were.")
@output.json_option
def command(source: str, address: str, finished: bool, wait_s: float | None, as_json: bool, **options: Any) -> int:
    """Send the frames of SOURCE to a run.

    SOURCE is a folder that camera software writes TIFF files into, a folder of finished files (--finished), a TIFF
    stack, or `simulated` (`simulated?width=512&beads=100&fps=100`). The exit status is 4 if frames were lost here.
    """
    from bridge.send import send

    check_address(address)
    with stopped_by_ctrl_c() as stopping:
        report = send(
            source,
            address,
            watch=not finished,
            connect_s=wait_s,
            progress=watched_by(),
            complain=output.talk,
            stopping=lambda: bool(stopping),
            **options,
        )
    return tell(report, as_json)


def check_address(address: str) -> None:
    """Refuse what is no address."""
    from engine.settings_rules import parse_address

    try:
        parse_address(address)
    except ValueError:
        raise click.BadParameter(f"{address} is no address; it must be tcp://host:port", param_hint="--to") from None


def watched_by() -> Callable[[Statistics], None]:
    """What is called with the account again and again: a line, where a person looks at it."""
    return _Line() if output.interactive() else lambda _: None


def tell(report: Report, as_json: bool) -> int:
    """Write the account; the exit status."""
    import msgspec

    if output.interactive():
        output.talk("")
    if as_json:
        output.result_json(msgspec.to_builtins(report))
    else:
        output.result("\n".join(report.lines()))
    if not report.ended:
        return 3
    return 4 if report.statistics.lost else 0


class _Line:
    """One line that is rewritten twice a second."""

    def __init__(self) -> None:
        self._told = 0.0

    def __call__(self, s: Statistics) -> None:
        if time.monotonic() - self._told < 0.5:
            return
        self._told = time.monotonic()
        where = "connected" if s.connected else "waiting for the run"
        text = f"\r{where}: offered {s.offered}  taken {s.taken}  waiting {s.waiting}  lost {s.lost}"
        click.echo(text.ljust(79), nl=False, err=True)


@contextmanager
def stopped_by_ctrl_c() -> Iterator[list[int]]:
    """The first Ctrl-C (or SIGTERM) ends the sending in order; the second raises KeyboardInterrupt."""
    requests: list[int] = []

    def ask(number: int, _: object) -> None:
        if requests:
            raise KeyboardInterrupt
        requests.append(number)

    numbers = [signal.SIGINT] + [signal.SIGTERM] * (sys.platform != "win32")
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
