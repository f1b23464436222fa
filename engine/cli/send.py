"""`ringtrack send`: frames from here to a run, wherever that is. Portable: this runs on the camera PC."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.addresses import USUAL
from engine.cli import output

if TYPE_CHECKING:
    from bridge.outcomes import Statistics
    from bridge.send import Report
    from recorders.archive.account import Account
    from recorders.archive.keeper import Keeper


def archive_options(command: Any) -> Any:
    """How an archive is made: for `archive`, and for `send --archive`."""
    texts = {
        "workers": "Processes that pack and verify. Default: all cores but one.",
        "effort": "1 is fast; 7 packs 11 % tighter, in 260 times the time.",
        "mark": "The part of the RAM disk that should not be exceeded.",
        "when": "Above the mark: move files to DEST/waiting, or only warn. Nothing is deleted to make room.",
    }
    for option in (
        click.option("--when-full", type=click.Choice(["move", "wait"]), default="move", help=texts["when"]),
        click.option("--mark", type=click.FloatRange(0.01, 0.99), default=0.8, show_default=True, help=texts["mark"]),
        click.option("--effort", type=click.IntRange(1, 9), default=1, show_default=True, help=texts["effort"]),
        click.option("--workers", type=click.IntRange(1, 256), help=texts["workers"]),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("source")
@click.option("--to", "address", default=USUAL, show_default=True, help="Where the run listens.")
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), help="Pace of a stack or finished folder.")
@click.option("--finished", is_flag=True, help="The folder is finished: send what is there, and end.")
@click.option("--delete-sent", is_flag=True, help="Delete a file once its frame is in the ring, never before.")
@click.option(
    "--archive", "dest", type=click.Path(file_okay=False, path_type=Path),
    help="Make each file a lossless JPEG XL there as well; it is deleted once taken and archived.",
)  # fmt: skip
@archive_options
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
@click.option("--keys", type=click.Path(path_type=Path, exists=True), help="Folder of the keys: frames go encrypted.")
@click.option("--truth", type=click.Path(path_type=Path), help="Where `simulated` writes where its beads were.")
@output.json_option
def command(
    source: str, address: str, finished: bool, wait_s: float | None, as_json: bool, dest: Path | None,
    workers: int | None, effort: int, mark: float, when_full: str, **options: Any,
) -> int:  # fmt: skip
    """Send the frames of SOURCE to a run.

    SOURCE is a folder that camera software writes TIFF files into, a folder of finished files (--finished), a TIFF
    stack, or `simulated` (`simulated?width=512&beads=100&fps=100`). The exit status is 4 if frames were lost here.
    """
    from bridge.send import send
    from engine.cli.archive import kept, line_of
    from engine.ownership import owned

    check_address(address)
    with ExitStack() as stack:
        stopping = stack.enter_context(stopped_by_ctrl_c())
        keeper: Keeper | None = None
        if dest is not None:
            if not Path(source).is_dir():
                raise click.UsageError(f"--archive: {source} is no folder of files.")
            keeper = stack.enter_context(
                kept(
                    Path(source), dest, workers=workers, effort=effort, mark=mark, when_full=when_full,
                    what="ringtrack send --archive",
                )
            )  # fmt: skip
        elif options["delete_sent"] and Path(source).is_dir():
            stack.enter_context(owned(Path(source), "ringtrack send --delete-sent"))
        report = send(
            source,
            address,
            keeper=keeper,
            watch=not finished,
            connect_s=wait_s,
            progress=watched_by(),
            complain=output.talk,
            remark=output.talk,
            stopping=lambda: bool(stopping),
            **options,
        )
        if keeper is None:
            return tell(report, as_json)
        keeper.drain(lambda: len(stopping) > 1, line_of())
        return tell(report, as_json, keeper.account)


def check_address(address: str) -> None:
    """Refuse what is no address."""
    from engine.addresses import local_name, parse_address

    try:
        if not local_name(address):
            parse_address(address)
    except ValueError:
        raise click.BadParameter(
            f"{address} is no address; it must be tcp://host:port, or ipc://@name on this computer.", param_hint="--to"
        ) from None


def watched_by() -> Callable[[Statistics], None]:
    """What is called with the account again and again: a line, where a person looks at it."""
    return _Line() if output.interactive() else lambda _: None


def tell(report: Report, as_json: bool, archived: Account | None = None) -> int:
    """Write the account; the exit status."""
    import msgspec

    if output.interactive():
        output.talk("")
    if as_json:
        more = {} if archived is None else {"archive": msgspec.to_builtins(archived)}
        output.result_json(msgspec.to_builtins(report) | more)
    else:
        output.result("\n".join(report.lines() + ([] if archived is None else archived.lines())))
    if not report.ended:
        return 3
    return 4 if report.statistics.lost or (archived is not None and archived.failed) else 0


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
