"""`ringtrack stop`: ends a run, as Ctrl-C in its terminal would."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

import click

from engine.cli import output
from engine.errors import MachineError


@click.command()
@click.argument("run", required=False)
@click.option("--force", is_flag=True, help="At once: what is in the rings is lost, files stay whole.")
@click.option("--wait", "wait_s", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds.")
def command(run: str | None, force: bool, wait_s: float) -> None:
    """End a run in order: what is in the rings is still tracked and recorded.

    RUN is the beginning of its id, its folder or its process number; without it, the only one that is going on.
    """
    from engine.cli.choose import called, choose

    plan = choose(run).plan
    output.talk(f"{called(plan)}: is asked to end{' at once' if force else ''}")
    try:
        pidfd = os.pidfd_open(plan.pid)
    except ProcessLookupError:
        raise MachineError(f"the run {plan.run_folder} has just ended") from None
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        if force:
            select.select([pidfd], [], [], 0.2)  # two requests: the second one is the force
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        end = time.monotonic() + wait_s
        while wait_s and not select.select([pidfd], [], [], 0.5)[0]:
            if time.monotonic() > end:
                raise MachineError(
                    f"the run {plan.run_folder} (process {plan.pid}) has not ended after {wait_s:g} s; "
                    "it may still be writing. By force: ringtrack stop --force"
                )
    except ProcessLookupError:
        pass  # it ended between two lines
    finally:
        os.close(pidfd)
    output.result(str(Path(plan.run_folder)))
