"""`ringtrack inspect`: what a run holds, and whether it is whole."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli import output


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@output.json_option
def command(run: Path, as_json: bool) -> int:
    """Say what the run in folder RUN (or its HDF5 file) holds, and whether its tables agree with each other.

    The exit status is 1 if they do not.
    """
    import json

    from recorders.inspect import inspect

    report = inspect(run)
    if as_json:
        output.result_json(json.loads(report.json()))
    else:
        output.result(report.text())
    return 0 if report.whole else 1
