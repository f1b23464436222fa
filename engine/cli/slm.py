"""`ringtrack slm …`: the light of a run, from a terminal."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import output

if TYPE_CHECKING:
    from bridge.client import Client


@click.group()
def command() -> None:
    """Hold and move particles with light, in the run that is going on.

    Lengths are pixels of the camera. Patterns are TOML files with a list: places = [[x, y], …].
    """


def _run_option(function: Any) -> Any:
    text = "The beginning of its id, its folder or its process number, where several go on."
    return click.option("--run", help=text)(function)


def _client(run: str | None) -> Client:
    from bridge.client import Client
    from bridge.control import local_address
    from engine.cli.choose import choose

    return Client(local_address(choose(run).plan.run_id))


@command.command()
@_run_option
@output.json_option
def state(run: str | None, as_json: bool) -> None:
    """Say what the light does: armed or not, traps, latency."""
    with _client(run) as client:
        found = client.slm.state()
    if as_json:
        output.result_json(found)
        return
    latency = found["latency_ms"]
    rows = [
        ("light", f"{found['state']} ({found['why']})" + (", shadow mode" if found["shadow"] else "")),
        ("display", found["display"] or "not there"),
        ("traps", f"{len(found['traps'])}, {sum(t['hold'] == 'held' for t in found['traps'])} hold their particle"),
        ("lost", f"{found['lost']} times a particle was lost"),
    ]
    if latency:
        rows.append(("camera to light", "p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {max:.1f} ms".format(**latency)))
    output.result(output.table(rows))
    if found["traps"]:
        cells = [
            (str(t["trap"]), t["hold"], str(t["particle"]), f"{t['x']:.1f}", f"{t['y']:.1f}", f"{t['intensity']:g}")
            for t in found["traps"]
        ]
        output.result("\n" + output.table([("trap", "holds", "particle", "x", "y", "intensity"), *cells]))


@command.command()
@_run_option
def arm(run: str | None) -> None:
    """Show light from now on."""
    with _client(run) as client:
        output.talk(f"the light is {client.slm.arm()['state']}")


@command.command()
@_run_option
def disarm(run: str | None) -> None:
    """Take the light out of all traps, at once."""
    with _client(run) as client:
        output.talk(f"the light is {client.slm.disarm()['state']}")


@command.command()
@click.argument("x", type=float, required=False)
@click.argument("y", type=float, required=False)
@click.option("--particle", type=int, help="At this particle.")
@click.option("--trap", "number", type=int, help="Other z and intensity for the trap of this number.")
@click.option("--z", type=float, default=0.0)
@click.option("--intensity", type=click.FloatRange(min=0), default=1.0, show_default=True)
@_run_option
def trap(
    x: float | None, y: float | None, particle: int | None, number: int | None, z: float, intensity: float,
    run: str | None,
) -> None:  # fmt: skip
    """Make a trap at X Y or at a particle; its number is printed."""
    with _client(run) as client:
        output.result(str(client.slm.trap(x, y, particle=particle, trap=number, z=z, intensity=intensity)))


@command.command()
@click.option("--most", type=click.IntRange(min=1), help="So many at most.")
@_run_option
def catch(most: int | None, run: str | None) -> None:
    """Make a trap for every particle that is free."""
    with _client(run) as client:
        output.result(" ".join(map(str, client.slm.catch(most))))


@command.command()
@click.argument("number", type=int)
@click.argument("x", type=float)
@click.argument("y", type=float)
@click.option("--step", type=click.FloatRange(min=0), default=0.0, help="Pixels a frame; 0: as fast as is safe.")
@_run_option
def move(number: int, x: float, y: float, step: float, run: str | None) -> None:
    """Move trap NUMBER to X Y."""
    with _client(run) as client:
        output.talk(f"{client.slm.move({number: (x, y)}, step)} frames")


@command.command()
@click.argument("angle", type=float)
@_run_option
def rotate(angle: float, run: str | None) -> None:
    """Turn all traps by ANGLE degrees about their middle."""
    with _client(run) as client:
        output.talk(f"{client.slm.rotate(angle)} frames")


@command.command()
@click.argument("pattern", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--step", type=click.FloatRange(min=0), default=0.0, help="Pixels a frame; 0: as fast as is safe.")
@_run_option
def assemble(pattern: Path, step: float, run: str | None) -> None:
    """Bring held particles to the places of the file PATTERN; which goes where is chosen."""
    places = read_pattern(pattern)
    with _client(run) as client:
        output.result(" ".join(map(str, client.slm.assemble(places, step))))


@command.command()
@click.argument("pattern", type=click.Path(dir_okay=False, path_type=Path))
@_run_option
def save(pattern: Path, run: str | None) -> None:
    """Write where the traps are as the file PATTERN; one that is there is not overwritten."""
    with _client(run) as client:
        found = client.slm.state()
    if not found["traps"]:
        raise click.UsageError("there are no traps to save")
    write_pattern(pattern, [(each["x"], each["y"]) for each in found["traps"]])
    output.talk(f"{len(found['traps'])} places in {pattern}")


@command.command()
@click.argument("numbers", type=int, nargs=-1)
@_run_option
def release(numbers: tuple[int, ...], run: str | None) -> None:
    """Take the light out of traps NUMBERS (all)."""
    with _client(run) as client:
        client.slm.release(list(numbers) or None)


@command.command()
@_run_option
def halt(run: str | None) -> None:
    """Stop all traps where they are."""
    with _client(run) as client:
        client.slm.halt()


@command.command()
@click.argument("mode", type=click.Choice(["off", "reposition", "p", "pi"]))
@click.option("--gain", type=click.FloatRange(min=0), default=0.0)
@click.option("--integral", type=click.FloatRange(min=0), default=0.0, help="Of pi, a frame.")
@_run_option
def feedback(mode: str, gain: float, integral: float, run: str | None) -> None:
    """Set the feedback of all traps; a gain that would oscillate is refused."""
    with _client(run) as client:
        found = client.slm.feedback(mode, gain, integral)
    output.talk(f"feedback {found['feedback']}, gain {found['gain']:g}, at {found['delay_frames']} frames of delay")


@command.command()
@click.argument("points", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--objective", default="", help="As notes.objective in the settings.")
@click.option("--binning", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--region", nargs=4, type=int, required=True, metavar="Y X HEIGHT WIDTH", help="Of the camera's sensor.")
def register(points: Path, path: Path, objective: str, binning: int, region: tuple[int, int, int, int]) -> None:
    """Make the registration PATH from a table POINTS: camera_x, camera_y, order_x, order_y a line, three or more.

    A row says where (camera) the light was seen that was sent to (order); a first line with words is a header.
    """
    import msgspec
    import numpy as np

    from bridge.slm.registration import Optics, register
    from engine.clocks import utc_ns
    from engine.errors import SettingsError

    try:
        text = points.read_text().replace(",", " ").splitlines()
        rows = np.array([[float(v) for v in line.split()] for line in text if line[:1] in "-+.0123456789" and line])
        optics = Optics(objective=objective, binning=binning, region=region)
        made = register(rows[:, :2], rows[:, 2:4], utc_ns(), optics)
    except (ValueError, IndexError) as error:
        raise SettingsError(f"{points}: {error}") from None
    path.write_bytes(msgspec.json.format(msgspec.json.encode(made)))
    residual = "not known from three points" if math.isnan(made.residual_px) else f"{made.residual_px:.3f} px rms"
    output.talk(f"{path}: {made.points} points, residual {residual}")


@command.command()
@click.option("--trap", "number", type=int, help="The trap that is moved; the first that holds a particle.")
@click.option("--step", type=click.FloatRange(min=0.2), default=2.0, show_default=True, help="Pixels.")
@click.option("--seconds", type=click.FloatRange(min=1, max=60), default=5.0, show_default=True)
@_run_option
@output.json_option
def latency(number: int | None, step: float, seconds: float, run: str | None, as_json: bool) -> None:
    """Measure the way from the display to the camera: a trap jumps to and fro, and the camera sees when.

    The time between command and motion is found by correlation of what was sent with what was seen, the bead's own
    sluggishness fitted beside it.
    """
    from engine.cli.choose import choose
    from engine.cli.latency import measure

    with _client(run) as client:
        found = measure(client, Path(choose(run).plan.run_folder), number, step, seconds)
    if as_json:
        output.result_json(found)
    else:
        output.result(
            output.table(
                [
                    ("display to camera", f"{found['display_to_camera_ms']:.1f} ms ± {found['error_ms']:.1f} ms"),
                    ("camera to display", "p50 {p50:.1f} ms, p99 {p99:.1f} ms".format(**found["camera_to_display_ms"])),
                    ("whole loop", f"{found['loop_ms']:.1f} ms, {found['loop_frames']:.2f} frames"),
                    ("slm.delay_frames", str(found["delay_frames"])),
                    ("bead", f"follows in {found['tau_ms']:.1f} ms; correlation {found['correlation']:.3f}"),
                ]
            )
        )


def read_pattern(path: Path) -> list[tuple[float, float]]:
    """Places of a pattern file. Raises SettingsError."""
    from engine.errors import SettingsError

    try:
        places = tomllib.loads(path.read_text())["places"]
        return [(float(x), float(y)) for x, y in places]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{path}: a pattern is written as places = [[x, y], …]: {error!r}") from None


def write_pattern(path: Path, places: list[tuple[float, float]]) -> None:
    """Raises SettingsError if there is a file of that name."""
    from engine.errors import SettingsError

    lines = ["# places of traps, pixels of the camera (x, y)", "places = ["]
    lines += [f"    [{x:.2f}, {y:.2f}]," for x, y in places]
    try:
        with path.open("x") as file:
            file.write("\n".join([*lines, "]"]) + "\n")
    except FileExistsError:
        raise SettingsError(f"{path} is there already; give another name") from None
