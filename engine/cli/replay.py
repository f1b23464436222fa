"""`ringtrack replay`: recorded frames again, as if the camera were running."""

from __future__ import annotations

import click

from engine.addresses import USUAL
from engine.cli import output
from engine.cli.send import stopped_by_ctrl_c, tell, watched_by
from engine.cli.times import Seconds


@click.command()
@click.argument("source")
@click.option("--to", "address", default=USUAL, show_default=True, help="Where the run listens.")
@click.option(
    "--speed", type=click.FloatRange(min=0), default=1.0, show_default=True,
    help="0.5 is half as fast as it was, 10 ten times as fast, 0 as fast as it is taken.",
)  # fmt: skip
@click.option("--from", "from_s", type=Seconds(), default=0.0, metavar="TIME", help="Begin there: 10s, 2min, 1:30.")
@click.option("--to-time", "to_s", type=Seconds(), metavar="TIME", help="End there.")
@click.option("--loop", is_flag=True, help="Begin again at the end, until stopped.")
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), help="Of a stack or folder without times.")
@click.option("--name", help="What the run calls this source; a sender of the same name resumes.")
@click.option("--wait", "wait_s", type=click.FloatRange(min=0), help="Seconds to wait for the run; else without end.")
@output.json_option
def command(
    source: str, address: str, speed: float, from_s: float, to_s: float | None, loop: bool, fps: float | None,
    name: str | None, wait_s: float | None, as_json: bool,
) -> int:  # fmt: skip
    """Send the recorded frames of SOURCE to a run, at the times at which they were taken.

    SOURCE is the folder of a run that kept its frames (record.images), a folder of TIFF files, or a TIFF stack. Frames
    say their own times whatever the speed, so velocities are those of the recording. None is dropped: where tracking is
    behind, the replay waits.
    """
    from bridge.send import send
    from engine.cli.send import check_address
    from engine.supervisor.replay import open_replay

    check_address(address)
    replay = open_replay(source, speed=speed, from_s=from_s, to_s=to_s, loop=loop, fps=fps or 0.0)
    with stopped_by_ctrl_c() as stopping:
        report = send(
            replay, address, name=name, connect_s=wait_s, progress=watched_by(), complain=output.talk,
            stopping=lambda: bool(stopping),
        )  # fmt: skip
    return tell(report, as_json)
