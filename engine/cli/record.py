"""`ringtrack record start|stop|pause|resume|crops`: takes of a run that goes on."""

from __future__ import annotations

import click

from engine.cli import output
from engine.cli.times import Seconds


@click.command()
@click.argument("action", type=click.Choice(["start", "stop", "pause", "resume", "crops"]))
@click.argument("name", required=False, default="")
@click.option("--before", type=Seconds(), default=0.0, help="What came so long before is of the take too: 2s.")
@click.option("--for", "for_s", type=Seconds(), default=0.0, help="It ends by itself after so long: 30s, 5min.")
@click.option("--run", help="The beginning of its id, its folder or its process number, where several go on.")
@output.json_option
def command(action: str, name: str, before: float, for_s: float, run: str | None, as_json: bool) -> None:
    """Record the frames from now on as a take called NAME, or stop; tracking goes on all the while.

    A run records from its start unless the settings say record.on = false. While recording is off, `/frames` has a row
    for each frame that came, with the state "paused", and nothing is written of its particles and pixels.

    `crops "3, 7"` keeps crops of these particles from now on (record.crop_size); `crops ""` of all.
    """
    from bridge.client import Client
    from bridge.control import local_address
    from engine.cli.choose import called, choose, facts_of

    if (action != "start" and (before or for_s)) or (action not in ("start", "crops") and name):
        raise click.UsageError("NAME, --before and --for belong to `record start`.")
    plan = choose(run).plan
    with Client(local_address(plan.run_id)) as client:
        done = client.record(action, name, before_s=before, for_s=for_s)
    if as_json:
        output.result_json(done | facts_of(plan))
        return
    if action == "crops":
        output.result(f"{called(plan)}: crops are kept of {name or 'all particles'}")
        return
    take = f"take {done['take']}" + (f" ({done['name']})" if done["name"] else "")
    when = "the next frame" if done["from_frame"] is None else f"frame {done['from_frame']}"
    state = {"on": "is recorded from", "paused": "is paused from", "off": "ended before"}[done["state"]]
    output.result(f"{called(plan)}: {take} {state} {when}" + ("" if done["state"] == "off" else " on"))
