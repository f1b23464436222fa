"""`ringtrack inspect`: what a run holds, and whether it is whole."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli import output


@click.command()
@click.argument("run")
@output.data_option
@click.option("--repair", is_flag=True, help="Make a run whole that was killed; good data are not touched.")
@output.json_option
def command(run: str, data: Path, repair: bool, as_json: bool) -> int:
    """Say what a run holds, whether its tables agree with each other, and whether every recorded frame can be read.

    RUN is its folder, its HDF5 file, or its name under the data folder: run_003, 2026-11-21/run_003, latest. The exit
    status is 1 if something is wrong.

    --repair takes the mark of a dead writer away, cuts a torn end off, joins parts, and makes /particles, the index and
    the link to the images anew: into a new file beside, which takes the place of the old one when it was read back.
    """
    import json

    from recorders.inspect import inspect
    from recorders.named import find_run
    from recorders.repair import repair as make_whole
    from recorders.run import Run

    path = find_run(run, data)
    if repair:
        for line in make_whole(Run.open(path).path).done or ["nothing to repair"]:
            output.talk(line)
    report = inspect(path)
    if as_json:
        output.result_json(json.loads(report.json()))
    else:
        output.result(report.text())
    return 0 if report.whole else 1
