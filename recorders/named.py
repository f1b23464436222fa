"""Which run is meant: a folder, a file, `run_003`, `2026-11-21/run_003`, or `latest`."""

from __future__ import annotations

import difflib
from pathlib import Path

from recorders.parts import RunError

LATEST = "latest"


def find_run(named: str | Path, data: Path) -> Path:
    """The folder or file that is meant; `data` holds the runs of all days.

    What exists under that name is it. A bare `run_003` is the one of the last day that has it, `latest` the newest run
    of all. Raises RunError, with the names that are near.
    """
    path = Path(named)
    if path.exists():
        return path
    runs = _runs(data)
    if str(named) == LATEST:
        if not runs:
            raise RunError(f"there is no run under {data.absolute()}; name the folder of one, or --data FOLDER")
        return runs[-1]
    wanted = str(named).rstrip("/")
    found = [run for run in runs if wanted in (run.name, f"{run.parent.name}/{run.name}")]
    if found:
        return found[-1]
    names = list(dict.fromkeys(n for run in reversed(runs) for n in (run.name, f"{run.parent.name}/{run.name}")))
    near = difflib.get_close_matches(wanted, names, 3)
    meant = f" Did you mean {' or '.join(near)}?" if near else f" Runs in it: {len(runs)}."
    raise RunError(f"{named} does not exist, neither here nor as a run under {data.absolute()}.{meant}")


def _runs(data: Path) -> list[Path]:
    """Folders of runs that recorded something, oldest first: days are dates, and runs of a day are counted."""
    found = [path for path in data.glob("*/run_*") if any(path.glob("tracking_*.h5"))]
    return sorted(found, key=lambda path: (path.parent.name, len(path.name), path.name))
