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
    from engine.cli.choose import called, choose, facts_of

    message = " ".join(text)
    plan = choose(run).plan
    with Client(local_address(plan.run_id)) as client:
        frame = client.mark(message)
    if as_json:
        output.result_json({"frame": frame, "text": message} | facts_of(plan))
    else:
        where = f"at frame {frame}" if frame >= 0 else "before the first frame"
        output.result(f"{called(plan)}: marked {where}")
