"""`ringtrack archive`: camera files into a lossless, verified JPEG XL archive. Portable: this runs on the camera PC."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import output
from engine.cli.send import archive_options, stopped_by_ctrl_c

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recorders.archive.account import Account
    from recorders.archive.index import Archive
    from recorders.archive.keeper import Keeper


@click.command()
@click.argument("watch", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("dest", required=False, type=click.Path(file_okay=False, path_type=Path))
@archive_options
@click.option("--finished", is_flag=True, help="The folder is finished: archive what is there, and end.")
@click.option("--keep", is_flag=True, help="Delete no original.")
@click.option("--poll", is_flag=True, help="Look into the folder instead of waiting for events: for network drives.")
@click.option("--idle", "idle_s", type=click.FloatRange(min=0), default=0.0, help="End after so many seconds idle.")
@click.option("--recompress", is_flag=True, help="WATCH is an archive: pack its pictures anew with --effort.")
@output.json_option
def command(
    watch: Path, dest: Path | None, workers: int | None, effort: int, mark: float, when_full: str, finished: bool,
    keep: bool, poll: bool, idle_s: float, recompress: bool, as_json: bool,
) -> int:  # fmt: skip
    """Make every TIFF file of the folder WATCH a lossless JPEG XL in the archive DEST.

    A file is deleted when its picture was read back, decoded and found equal, and its line is in DEST/archive.csv.
    Ctrl-C ends it: what is not archived yet stays, and is archived by the next one. To send the frames as well, use
    `ringtrack send WATCH --to … --archive DEST`: a folder has one owner. The exit status is 4 if a file could not be
    archived.
    """
    if recompress:
        if dest is not None:
            raise click.UsageError("--recompress takes one folder: the archive.")
        return _recompress(watch, effort, workers or _workers(), as_json)
    if dest is None:
        raise click.UsageError("Name the folder of the archive: ringtrack archive WATCH DEST.")
    with ExitStack() as stack:
        stopping = stack.enter_context(stopped_by_ctrl_c())
        keeper = stack.enter_context(
            kept(
                watch, dest, workers=workers, effort=effort, mark=mark, when_full=when_full, delete=not keep,
                what="ringtrack archive",
            )
        )  # fmt: skip
        line = line_of()
        for path, number in _finished(watch, keeper.busy) if finished else _watched(watch, poll, idle_s, stack):
            if stopping:
                break
            if path is not None:
                keeper.add(path, -1 if number is None else number)
            keeper.tick()
            line(keeper.account)
        keeper.drain(lambda: bool(stopping), line)
        return tell(keeper.account, as_json)


def _finished(watch: Path, more: bool) -> Iterator[tuple[Path, int | None]]:
    """Files of a finished folder with their numbers. Raises SettingsError if there are none, nor `more` elsewhere."""
    from bridge.sources.folder import Folder
    from bridge.sources.tiff import number_of
    from engine.errors import SettingsError

    try:
        files = [path for _, path in Folder(watch).files]
    except SettingsError:
        if not more:
            raise
        files = []  # what an archiver before this one moved aside is to be archived all the same
    return ((path, number_of(path.name)) for path in files)


def _watched(watch: Path, poll: bool, idle_s: float, stack: ExitStack) -> Iterator[tuple[Path | None, int | None]]:
    """Files of a folder that is written into, with their numbers, as they get complete; None: a moment passed."""
    from bridge.sources import Source, Unreadable, open_source
    from bridge.sources.tiff import number_of
    from bridge.wire import Answer, Verdict

    source: Source = open_source(str(watch), poll=poll, idle_s=idle_s, pixels=False)
    stack.callback(source.close)
    for found in source.frames(Answer(verdict=Verdict.WELCOME)):
        if found is None:
            yield None, None
        else:
            # What the source cannot read, or came late, is tried all the same: the archive is of every file.
            name = found.what if isinstance(found, Unreadable) else found.file_name
            yield watch / name, number_of(name)


@contextmanager
def kept(
    watch: Path, dest: Path, *, workers: int | None, effort: int, mark: float, when_full: str, what: str,
    delete: bool = True,
) -> Iterator[Keeper]:  # fmt: skip
    """The keeper of a folder, as its one owner, with its workers; measured, and said what is to be expected."""
    from engine.errors import MachineError
    from engine.ownership import owned
    from recorders.archive.crew import Crew
    from recorders.archive.index import NAME, Index
    from recorders.archive.keeper import Keeper
    from recorders.archive.speed import measured, sample_of

    refuse_without_codec()
    workers = workers or _workers()
    if (watch / NAME).exists():
        raise click.UsageError(f"{watch} is an archive itself. The folder that the camera writes into comes first.")
    try:
        dest.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"{dest} cannot be made: {error.strerror}") from None
    if watch.resolve() == dest.resolve():
        raise click.UsageError(f"{dest}: the archive needs a folder of its own, not the one that is watched.")
    if when_full == "move" and delete and watch.stat().st_dev == dest.stat().st_dev:
        output.talk(f"{watch} and {dest} are on one disk: above its mark there is nowhere to move files to.")
    with owned(watch, what), owned(dest, what), Index(dest) as index, Crew(workers) as crew:
        output.talk(measured(effort, sample_of(watch)).line(workers))
        with Keeper(
            watch, dest, crew, index, effort=effort, delete=delete, when_full=when_full, mark=mark,
            complain=output.talk,
        ) as keeper:  # fmt: skip
            yield keeper


def tell(account: Account, as_json: bool) -> int:
    """Write the account; the exit status."""
    import msgspec

    if output.interactive():
        output.talk("")
    if as_json:
        output.result_json(msgspec.to_builtins(account))
    else:
        output.result("\n".join(account.lines()))
    return 4 if account.failed else 0


def line_of() -> Callable[[Account], None]:
    """A line that is rewritten twice a second, where a person looks at it."""
    if not output.interactive():
        return lambda account: None
    told = [0.0]

    def write(account: Account) -> None:
        if time.monotonic() - told[0] > 0.5:
            told[0] = time.monotonic()
            click.echo(f"\r{account.line()}".ljust(79), nl=False, err=True)

    return write


def refuse_without_codec() -> None:
    """The codec is an extra, missed now and not at the first frame."""
    from engine.errors import MachineError

    if find_spec("imagecodecs") is None:
        raise MachineError("the archive needs imagecodecs, which is not installed here. Try: pip install imagecodecs")


def _workers() -> int:
    from recorders.archive.speed import cores

    return max(1, cores() - 1)


def _recompress(folder: Path, effort: int, workers: int, as_json: bool) -> int:
    import msgspec

    from engine.ownership import owned
    from recorders.archive.index import Archive
    from recorders.archive.recompress import recompress
    from recorders.archive.speed import measured

    refuse_without_codec()
    archive = Archive.open(folder)  # raises for a folder that is none, before anything is made in it
    with stopped_by_ctrl_c() as stopping, owned(folder, "ringtrack archive --recompress"):
        sample = _first_picture(archive)
        output.talk(measured(effort, sample).line(workers))
        bar = output.interactive()
        account = recompress(
            folder, effort, workers, stopping=lambda: bool(stopping), complain=output.talk,
            progress=lambda a: click.echo(f"\r{a.done} of {a.pictures}", nl=False, err=True) if bar else None,
        )  # fmt: skip
    if as_json:
        output.result_json(msgspec.to_builtins(account))
    else:
        output.result("\n".join(account.lines()))
    return 4 if account.failed or account.not_written else 0


def _first_picture(archive: Archive) -> NDArray[Any] | None:
    """The first that can be read, to measure with."""
    from recorders.archive.index import ArchiveError

    for row in archive.rows[:50]:
        with suppress(ArchiveError):
            return archive.picture(row.file_name, row.checksum)
    return None
