"""A run's tracks and frames in the formats of other programs, by the libraries that know them, in blocks.

`selection` says what is wanted, `tables` writes tracks, `pictures` writes frames; `run` is what all have in common: the
file is written beside its name, is renamed when it is whole, and never takes another one's place.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import MachineError, SettingsError

if TYPE_CHECKING:
    from recorders.export.selection import Selection
    from recorders.run import Run

Progress = Callable[[int, int], None]
"""Called with what is done and what there is in all: rows, or frames."""


@dataclass(frozen=True)
class Format:
    """A way to write a run."""

    suffix: str
    writer: str  # module and function
    needs: tuple[str, ...]  # packages that are an extra
    says: str


FORMATS = {
    "csv": Format(".csv", "tables:write_csv", (), "pandas, MATLAB, R, Excel (to its limit of 1 048 576 rows)"),
    "parquet": Format(".parquet", "tables:write_parquet", ("pyarrow",), "pandas, polars, R arrow, DuckDB"),
    "trackpy-h5": Format(".h5", "tables:write_trackpy", (), "trackpy.PandasHDFStoreSingleNode"),
    "trackmate-csv": Format(".csv", "tables:write_trackmate", (), "Fiji: TrackMate's table of spots, and its importer"),
    "napari-csv": Format(".csv", "tables:write_napari", (), "napari: dragged onto it, a layer of points"),
    "ome-tiff": Format(".ome.tif", "pictures:write_ome_tiff", (), "Fiji, napari, QuPath, MATLAB (Bio-Formats)"),
    "mp4": Format(".mp4", "pictures:write_mp4", ("av",), "a film with the particles drawn in, for a talk"),
}


def run(
    recorded: Run,
    to: str,
    path: Path | None = None,
    selection: Selection | None = None,
    *,
    progress: Progress = lambda done, total: None,
    **options: object,
) -> Path:
    """Export a run; where the file is. `options` are the writer's own.

    Raises SettingsError (no such format, the file exists, nothing selected), MachineError (a package is missing, disk).
    """
    from recorders.export.selection import Selection

    if to not in FORMATS:
        raise SettingsError(f"--to {to}: there is {', '.join(FORMATS)}")
    form = FORMATS[to]
    missing = [package for package in form.needs if find_spec(package) is None]
    if missing:
        raise MachineError(
            f"--to {to} needs {' and '.join(missing)}, which is not installed here. "
            "Try: pip install 'ringtrack[export]'"
        )
    if path is None:
        folder, kind = recorded.path.parent, to.removesuffix("-csv").removesuffix("-h5")
        path = folder / f"{folder.name}_{kind}{form.suffix}"
    if path.exists():
        raise SettingsError(f"{path} exists, and is not written over. Name another with --out, or remove it")
    module, _, name = form.writer.partition(":")
    writer = getattr(import_module(f"recorders.export.{module}"), name)
    beside = path.with_name(f".{path.name}.part{form.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        writer(recorded, beside, selection or Selection(), progress, **options)
        beside.rename(path)
    except OSError as error:
        free = shutil.disk_usage(path.parent).free / 2**30 if path.parent.exists() else 0.0
        raise MachineError(f"{path} could not be written: {error.strerror or error} ({free:.1f} GiB free)") from None
    finally:
        beside.unlink(missing_ok=True)
    return path
