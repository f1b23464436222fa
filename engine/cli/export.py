"""`ringtrack export`: a run's tracks and frames in the formats of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.cli import output
from engine.cli.times import Seconds
from recorders.export import FORMATS


@click.command(
    epilog="\b\n" + "\n".join(f"{name:<14} {form.says}" for name, form in FORMATS.items()),
)
@click.argument("run")
@output.data_option
@click.option("--to", "to", required=True, type=click.Choice(list(FORMATS)), help="See below.")
@click.option("--out", type=click.Path(path_type=Path), help="A new file. Default: in the run's folder.")
@click.option("--frames", metavar="A-B", help="Only frame numbers A to B.")
@click.option("--from", "from_s", type=Seconds(), metavar="TIME", help="Only from there on: 10s, 2min, 1:30.")
@click.option("--to-time", "to_s", type=Seconds(), metavar="TIME", help="Only until there.")
@click.option("--particles", metavar="LIST", help="Only these: 3,7,10-20.")
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), help="Of a film.")
@click.option("--plain", is_flag=True, help="A film without rings around the particles.")
def command(
    run: str, data: Path, to: str, out: Path | None, frames: str | None, from_s: float | None, to_s: float | None,
    particles: str | None, fps: float | None, plain: bool,
) -> int:  # fmt: skip
    """Write the tracks, or the frames, of the run RUN (a folder, run_003, latest) for another program."""
    from engine.chosen import parse_ranges
    from recorders import Run
    from recorders.export import run as export
    from recorders.export.selection import Selection
    from recorders.named import find_run

    first = last = None
    try:
        if frames is not None:
            ((first, last),) = parse_ranges(frames)
    except ValueError:
        raise click.BadParameter(f"{frames}; write it as 100-199", param_hint="--frames") from None
    try:
        wanted = () if particles is None else parse_ranges(particles)
    except ValueError:
        raise click.BadParameter(f"{particles}; write it as 3,7,10-20", param_hint="--particles") from None
    if to != "mp4" and (fps is not None or plain):
        raise click.UsageError("--fps and --plain are of a film (--to mp4).")
    options: dict[str, Any] = {"fps": fps, "overlay": not plain} if to == "mp4" else {}
    selection = Selection(first, last, from_s, to_s, wanted)
    with output.bar(to) as progress:
        path = export(Run.open(find_run(run, data)), to, out, selection, progress=progress, **options)
    output.result(str(path))
    return 0
