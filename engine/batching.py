"""`batch`: the features of a sequence of images, with trackpy's signature and one table."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import pandas as pd

from engine.locating import Number, locate


def batch(
    frames: Iterable[Any],
    diameter: Number,
    output: Any = None,
    meta: Any = None,
    processes: int | str = 1,
    after_locate: Any = None,
    *,
    progress: bool | None = None,
    **options: Any,
) -> pd.DataFrame | Any:
    """Locate features in every image: `locate`'s columns and `frame`, the image's number (`frame_no` where it has one).

    Arguments as in `trackpy.batch`; further ones are those of `locate`. `output` is anything with a method `put`, such
    as a PandasHDFStore of trackpy: tables go there one by one, and it is returned. `after_locate(number, features)`
    returns what is kept. `progress`: a bar on stderr; None: where a person looks at it. Raises ValueError for what is
    not offered: `meta`, and more processes than one (a run of the engine has as many trackers as there are cores).
    """
    if meta:
        raise ValueError("meta is not offered: settings are written where the results are, by a run")
    if processes not in (1, None):
        raise ValueError(f"processes={processes!r} is not offered; one process does as much as dozens of trackpy's")
    tables: list[pd.DataFrame] = []
    for index, image in _with_bar(frames, progress):
        number = getattr(image, "frame_no", None)
        number = index if number is None else int(number)
        features = locate(image, diameter, **options)
        features["frame"] = number
        if after_locate is not None:
            features = after_locate(number, features)
        if output is not None:
            output.put(features)
        elif len(features):
            tables.append(features)
    if output is not None:
        return output
    if not tables:
        return pd.DataFrame(columns=[*_COLUMNS, "frame"])
    return pd.concat(tables).reset_index(drop=True)


_COLUMNS = ("y", "x", "mass", "size", "ecc", "signal", "raw_mass", "ep")


def _with_bar(frames: Iterable[Any], progress: bool | None) -> Iterator[tuple[int, Any]]:
    if progress is None:
        progress = sys.stderr.isatty()
    if not progress:
        yield from enumerate(frames)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    total = len(frames) if isinstance(frames, Sized) else None
    columns = (BarColumn(), MofNCompleteColumn(), "frames", TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        for index, image in enumerate(frames):
            yield index, image
            bar.advance(task)
