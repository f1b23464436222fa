"""`ringtrack calibrate WHAT SOURCE`: files for the settings, made from recorded frames.

Each thing that can be calibrated is a command of this group.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from engine.cli import output
from engine.cli.calibrate_physics import scale, trap

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def command() -> None:
    """Make calibration files from recorded frames."""


def _options(name: str, frames: int) -> Callable[[F], F]:
    def add(function: F) -> F:
        function = click.argument("source")(function)
        function = click.option(
            "--frames", type=click.IntRange(min=1), default=frames, show_default=True, help="At most so many frames."
        )(function)
        function = click.option(
            "--out", type=click.Path(dir_okay=False, path_type=Path), default=f"{name}.npy", show_default=True
        )(function)
        return output.json_option(function)

    return add


@command.command("dark")
@_options("dark", 100)
def dark(source: str, frames: int, out: Path, as_json: bool) -> None:
    """Mean frame of a SOURCE without light."""
    from engine.calibration import mean_frame
    from engine.cli.frames import frames_of

    _save("dark", *mean_frame(frames_of(source, frames)), out, as_json)


@command.command("flat")
@_options("flat", 100)
def flat(source: str, frames: int, out: Path, as_json: bool) -> None:
    """Mean frame of a SOURCE of even light, without particles."""
    from engine.calibration import mean_frame
    from engine.cli.frames import frames_of

    _save("flat", *mean_frame(frames_of(source, frames)), out, as_json)


@command.command("background")
@_options("background", 50)
def background(source: str, frames: int, out: Path, as_json: bool) -> None:
    """Median frame of a SOURCE in which particles move: what stands still."""
    from engine.calibration import median_frame
    from engine.cli.frames import frames_of

    _save("background", *median_frame(frames_of(source, frames)), out, as_json)


@command.command("bad-pixels")
@_options("bad_pixels", 100)
@click.option("--deviations", type=click.FloatRange(min=1), default=10.0, show_default=True, help="How far is bad.")
def bad_pixels(source: str, frames: int, out: Path, deviations: float, as_json: bool) -> None:
    """Pixels of a SOURCE (dark, or of even light) that differ from their neighbours."""
    from engine import calibration
    from engine.cli.frames import frames_of

    found, count = calibration.bad_pixels(frames_of(source, frames), deviations)
    _save("bad_pixels", found, count, out, as_json)


def _save(key: str, array: Any, count: int, out: Path, as_json: bool) -> None:
    import numpy as np

    from engine.errors import MachineError

    try:
        with out.open("wb") as file:
            np.save(file, array, allow_pickle=False)
    except OSError as error:
        raise MachineError(f"{out}: cannot be written: {error.strerror}") from None
    height, width = array.shape
    facts: dict[str, Any] = {"file": str(out), "frames": count, "height": height, "width": width}
    if array.dtype == bool:
        facts["bad"] = int(array.sum())
        says = f"{facts['bad']} bad pixels of {array.size}"
    else:
        facts |= {"mean": float(array.mean()), "min": float(array.min()), "max": float(array.max())}
        says = f"mean {facts['mean']:.1f}, from {facts['min']:.1f} to {facts['max']:.1f}"
    if as_json:
        output.result_json(facts)
        return
    output.talk(f"{count} frames of {width} x {height}: {says}")
    output.result(f'[correction]\n{key} = "{out}"')


command.add_command(scale)
command.add_command(trap)
