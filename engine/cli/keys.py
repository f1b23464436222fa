"""`ringtrack keys`: the keys of the control socket."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli import output


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Where to put them; else RINGTRACK_KEYS or ~/.config.")
def command(folder: Path | None) -> None:
    """Make the keys that are needed when control.listen can be reached by other computers.

    Copy client.key_secret and server.key, by hand, to the computer that may steer.
    """
    from bridge.keys import make_keys

    output.result(str(make_keys(folder)))
