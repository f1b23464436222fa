"""`ringtrack monitor`: a window on a run, on this machine or another one, or on a finished run."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import output
from engine.errors import SettingsError

if TYPE_CHECKING:
    from bridge.monitor.feed import Feed


class _OneValue(click.Command):
    """Takes `--png every 5s` too, as people type it: one value, with or without quotes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        found = list(args)
        for i in range(len(found) - 2, 0, -1):
            if found[i - 1] == "--png" and found[i] == "every":
                found[i : i + 2] = [f"every {found[i + 1]}"]
        return super().parse_args(ctx, found)


@click.command(cls=_OneValue)
@click.argument("where", required=False)
@click.option("--toolkit", type=click.Choice(["tk", "qt"]), help="Of the window; otherwise the first that is there.")
@click.option("--png", metavar='"every 5s"', help="No window: write a picture so often.")
@click.option("--save", "film", type=click.Path(path_type=Path), metavar="FILM", help="No window: a film (.gif, .mp4).")
@click.option("--out", type=click.Path(path_type=Path), default=Path(), help="Folder of pictures and CSV files.")
@click.option("--seconds", type=click.FloatRange(min=0), default=0.0, help="End after so long; 0: with the run.")
@click.option("--tab", type=click.Choice(["Run", "Motion", "Trap"]), default="Run", help="Which is shown at first.")
@click.option("--particle", type=int, help="Which is chosen at first.")
@click.option("--trails", is_flag=True, help="Show trails from the beginning.")
@click.option("--keys", type=click.Path(path_type=Path, exists=True), help="Folder of the keys for another computer.")
@click.option("--fps", type=click.FloatRange(min=0.1, max=100), default=30.0, help="Pictures a second at most.")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), default=1.0, help="Of a finished run.")
@output.data_option
@output.json_option
def command(
    where: str | None, toolkit: str | None, png: str | None, film: Path | None, out: Path, seconds: float,
    tab: str, particle: int | None, trails: bool, keys: Path | None, fps: float, speed: float, data: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """Look at a run while it goes on, and steer it: ringtrack monitor tcp://host:50053.

    WHERE is the address of the run's control server, or a finished run, which is shown as it went: a folder, a file,
    run_003, or latest.
    Without it: the run that goes on here. Closing the window stops nothing.
    """
    every_s = _seconds(png) if png else 0.0
    if film is not None and not film.absolute().parent.is_dir():
        raise SettingsError(f"--save {film}: there is no folder {film.absolute().parent}")
    feed = _feed(where, keys, fps, speed, data)
    from bridge.monitor import show
    from engine.cli.send import stopped_by_ctrl_c

    def prepare(monitor: Any) -> None:
        monitor.screen.choose(tab)
        if particle is not None:
            monitor.screen.image.chosen = particle
        if trails and not monitor.screen.image.show_trails:
            monitor.toggle_trails()

    began = time.monotonic()
    if png:
        told = output.talk if as_json else output.result
        with stopped_by_ctrl_c() as stopping:
            pictures = show.write_pictures(
                feed, out, every_s, seconds=seconds, end=lambda: bool(stopping), said=lambda path: told(str(path)),
                prepare=prepare,
            )  # fmt: skip
    elif film:
        if film.suffix.lower() not in show.FILMS:
            raise SettingsError(f"--save: {film.name}: it must end in one of {', '.join(show.FILMS)}")
        with stopped_by_ctrl_c() as stopping:
            pictures = show.write_film(
                feed, film, seconds=seconds, end=lambda: bool(stopping), said=output.talk, prepare=prepare
            )
    else:
        backend = show.toolkit(toolkit or "")
        last = began + seconds if seconds else float("inf")
        monitor = show.show_window(
            feed, folder=out, backend=backend, end=lambda: time.monotonic() > last, ready=prepare
        )
        pictures = monitor.pictures
    took = time.monotonic() - began
    if as_json:
        output.result_json({"pictures": pictures, "seconds": took, "per_second": pictures / took})
    else:
        output.talk(f"{pictures} pictures in {output.duration(took)}")


def _seconds(png: str) -> float:
    found = re.fullmatch(r"(?:every)?\s*(\d+(?:\.\d+)?)\s*(ms|s|min|)", png.strip())
    if found is None:
        raise click.UsageError(f'--png {png}: write it as --png "every 5s"')
    return max(0.05, float(found[1]) * {"ms": 1e-3, "s": 1.0, "": 1.0, "min": 60.0}[found[2]])


def _feed(where: str | None, keys: Path | None, fps: float, speed: float, data: Path) -> Feed:
    from bridge.monitor.feed import LiveFeed

    if where is not None and where.startswith(("http://", "https://")):
        raise SettingsError(f"{where}: that is the page: open it in a browser. A window needs tcp://host:50053")
    if where is not None and "://" not in where:
        from engine.cli.monitor_replay import ReplayFeed
        from recorders.named import find_run
        from recorders.parts import RunError

        try:
            found = find_run(where, data)
        except RunError as error:
            raise SettingsError(f"{where}: no address (tcp://host:50053), and no run: {error}") from None
        return ReplayFeed(found, speed=speed, most_fps=fps)
    if where is None:
        from bridge.control import local_address
        from engine.cli.choose import choose

        where = local_address(choose(None).plan.run_id)
    return LiveFeed(where, keys=keys, most_fps=fps)
