"""`ringtrack note`: a remark, at the moment it is written, in the events of a run."""

from __future__ import annotations

import click

from engine.cli import output


@click.command()
@click.argument("text", nargs=-1, required=True)
@click.option("--run", help="The beginning of its id, its folder or its process number, where several go on.")
@output.json_option
def command(text: tuple[str, ...], run: str | None, as_json: bool) -> None:
    """Write TEXT into the events of the run that is going on: "new sample", "laser on"."""
    from bridge.client import Client
    from bridge.control import local_address
    from engine.cli.choose import called, choose, facts_of

    message = " ".join(text)
    plan = choose(run).plan
    with Client(local_address(plan.run_id)) as client:
        client.note(message)
    if as_json:
        output.result_json({"text": message} | facts_of(plan))
    else:
        output.result(f"{called(plan)}: noted")
