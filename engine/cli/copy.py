"""`ringtrack copy`: a run to another disk, proved equal."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli import output


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--verify/--no-verify", default=True, show_default=True, help="Read every copy back and compare.")
@output.json_option
def command(run: Path, dest: Path, verify: bool, as_json: bool) -> int:
    """Copy the run in folder RUN into the folder DEST, with SHA-256 sums (`sha256sum -c SHA256SUMS` checks them later).

    Files that are there already and equal are not copied again; nothing else is ever written over.
    """
    import msgspec

    from recorders.copying import copy

    with output.bar("copy") as progress:
        done = copy(run, dest, verify=verify, progress=progress)
    if as_json:
        output.result_json(msgspec.to_builtins(done))
    else:
        proved = ", read back and equal" if done.verified else ""
        output.result(f"{done.folder}: {done.files} files, {output.size(done.bytes)}{proved}")
    return 0
