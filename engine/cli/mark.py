"""`ringtrack mark`: a moment of a run, by name."""

from __future__ import annotations

import click

from engine.cli import output


@click.command()
@click.argument("text", nargs=-1, required=True)
@click.option("--run", help="The beginning of its id, its folder or its process number, where several go on.")
@output.json_option
def command(text: tuple[str, ...], run: str | None, as_json: bool) -> None:
    """Write TEXT into the events of the run at its newest frame: ringtrack mark "laser on".

    A recording that waits for it (record.trigger = "marker laser on") starts.
    """
    from bridge.client import Client
    from bridge.control import local_address
    from engine.cli.choose import choose

    message = " ".join(text)
    with Client(local_address(choose(run).plan.run_id)) as client:
        frame = client.mark(message)
    if as_json:
        output.result_json({"frame": frame, "text": message})
    else:
        output.result(f"marked at frame {frame}")
