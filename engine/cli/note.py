"""`ringtrack note`: a remark, at the moment it is written, in the events of a run."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli import output


@click.command()
@click.argument("text", nargs=-1, required=True)
@click.option("--run", help="The beginning of its id, its folder or its process number, where several go on.")
def command(text: tuple[str, ...], run: str | None) -> None:
    """Write TEXT into the events of the run that is going on: "new sample", "laser on"."""
    from engine.cli.choose import called, choose
    from engine.clocks import monotonic_ns
    from engine.process import Log

    plan = choose(run).plan
    message = " ".join(text)
    Log(Path(plan.run_folder) / "events.jsonl", "note")("info", message, event="note", t_ns=monotonic_ns())
    output.talk(f"{called(plan)}: noted")
