"""`ringtrack copy`: a run to another disk, proved equal."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli import output


@click.command()
@click.argument("run")
@click.argument("dest", type=click.Path(path_type=Path))
@output.data_option
@click.option("--verify/--no-verify", default=True, show_default=True, help="Read every copy back and compare.")
@output.json_option
def command(run: str, dest: Path, data: Path, verify: bool, as_json: bool) -> int:
    """Copy the run RUN (a folder, run_003, latest) into the folder DEST, with SHA-256 sums.

    `sha256sum -c SHA256SUMS` checks them later.

    Files that are there already and equal are not copied again; nothing else is ever written over.
    """
    import msgspec

    from recorders.copying import copy
    from recorders.named import find_run

    folder = find_run(run, data)
    folder = folder if folder.is_dir() else folder.parent
    with output.bar("copy") as progress:
        done = copy(folder, dest, verify=verify, progress=progress)
    if as_json:
        output.result_json(msgspec.to_builtins(done))
    else:
        proved = ", read back and equal" if done.verified else ""
        output.result(f"{done.folder}: {done.files} files, {output.size(done.bytes)}{proved}")
    return 0
