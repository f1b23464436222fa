"""`ringtrack init`: a settings file with a comment on every key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.output import result, settings_options, talk
from engine.errors import MachineError, SettingsError

if TYPE_CHECKING:
    from engine.experiment import Experiment


@click.command()
@click.argument("path", default="experiment.toml", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
@settings_options
def command(path: Path, force: bool, overrides: tuple[str, ...]) -> None:
    """Write a settings file to PATH (experiment.toml) with a comment on every key; "-" writes to stdout."""
    from engine.experiment import Experiment

    text = first_text(Experiment.load(None, overrides, environ={}))
    if str(path) == "-":
        result(text.rstrip("\n"))
        return
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SettingsError(f"{path}: is there already. Choose another name, or replace it with --force") from None
    except OSError as error:
        raise MachineError(f"{path}: cannot be written: {error.strerror}") from None
    result(str(path))
    talk(f"Next: ringtrack check {path}")


def first_text(experiment: Experiment) -> str:
    """The settings file; bits that are all of the type's are left to the type, for whoever changes that next."""
    camera, text = experiment.camera, experiment.to_toml()
    if camera.bits < 8 * camera.bytes_per_pixel:
        return text
    given = f"\nbits = {camera.bits}"
    return text.replace(f"{given} ", "\nbits = 0 ".ljust(len(given) + 1))
