"""`ringtrack runs`: the runs under a folder, from what each says of itself."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli import output

if TYPE_CHECKING:
    from recorders.listing import Listed


@click.command()
@click.argument("data", type=click.Path(path_type=Path), default=Path("data"))
@output.json_option
def command(data: Path, as_json: bool) -> int:
    """List the runs under the folder DATA (default: data), oldest first."""
    from recorders.listing import listed

    found = listed(data)
    if as_json:
        import msgspec

        output.result_json({"runs": msgspec.to_builtins(found)})
        return 0
    if not found:
        output.talk(f"no runs under {data.absolute()}")
        return 0
    rows: list[tuple[str, ...]] = [("run", "name", "started", "lasted", "frames", "lost", "size", "ended")]
    rows += [_row(run) for run in found]
    output.result(output.table(rows))
    return 0


def _row(run: Listed) -> tuple[str, ...]:
    started = datetime.fromtimestamp(run.started_utc_ns / 1e9).strftime("%Y-%m-%d %H:%M:%S")
    return (
        run.folder,
        run.name,
        started if run.started_utc_ns else "-",
        output.duration(run.seconds) if run.seconds >= 0 else "-",
        str(run.frames) if run.frames >= 0 else "-",
        str(run.lost) if run.lost >= 0 else "-",
        output.size(run.bytes),
        run.ended,
    )
