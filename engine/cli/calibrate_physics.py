"""`ringtrack calibrate scale` and `calibrate trap`: from pixels to micrometres, from motion to piconewtons."""

from __future__ import annotations

import datetime
import getpass
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import output
from engine.errors import SettingsError

if TYPE_CHECKING:
    from engine.physics.stiffness import Stiffness


@click.command("scale")
@click.argument("image", required=False)
@click.option("--ruling-um", type=click.FloatRange(min=0, min_open=True), help="Period of the lines in IMAGE.")
@click.option("--points", help="Two points in pixels: X1,Y1,X2,Y2 (with --distance-um).")
@click.option("--distance-um", type=click.FloatRange(min=0, min_open=True), help="Between the two points.")
@click.option("--stage-um", type=click.FloatRange(min=0, min_open=True), help="Step of the stage (with --points).")
@click.option("--objective", default="", help="What the calibration is good for.")
@click.option("--binning", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--person", default="", help="Who made it; you, if not said.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default="scales.jsonl", show_default=True)
@output.json_option
def scale(
    image: str | None, ruling_um: float | None, points: str | None, distance_um: float | None, stage_um: float | None,
    objective: str, binning: int, person: str, out: Path, as_json: bool,
) -> None:  # fmt: skip
    """Micrometres a pixel, from an IMAGE of a ruling, from two points, or from a step of the stage.

    Each calibration is a line of OUT, with objective, binning, person, date and residual.
    """
    import msgspec
    import numpy as np

    from engine.physics.scale import RESIDUAL_LIMIT, from_points, from_ruling, from_steps

    ways = [name for name, given in _ways(image, points, ruling_um, distance_um, stage_um).items() if given]
    if len(ways) != 1:
        raise click.UsageError(_wrong_ways(ways, image, points))
    try:
        if image and ruling_um:
            from engine.cli.frames import frames_of

            found = from_ruling(np.asarray(next(iter(frames_of(image, 1))), float), ruling_um)
        else:
            one, other = _two_points(points or "")
            found = (
                from_points(one, other, distance_um)
                if distance_um
                else from_steps(one[None], other[None], stage_um or 0)
            )
    except ValueError as error:
        raise SettingsError(f"calibrate scale: {error}") from None
    found = msgspec.structs.replace(
        found, objective=objective, binning=binning, person=person or getpass.getuser(),
        date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    )  # fmt: skip
    try:
        with out.open("ab") as file:
            file.write(msgspec.json.encode(found) + b"\n")
    except OSError as error:
        raise SettingsError(f"--out: {out} cannot be written: {error.strerror}") from None
    if found.residual > RESIDUAL_LIMIT:
        output.talk(
            f"ringtrack: quarters of the image disagree by {100 * found.residual:.2g} %: is it distorted, or is the "
            "ruling not flat?"
        )
    if as_json:
        output.result_json(msgspec.to_builtins(found))
        return
    rows = [("camera.pixel_um", f"{found.pixel_um:.6g}"), ("method", found.method), ("stored in", str(out))]
    if not math.isnan(found.residual):
        rows.insert(1, ("residual", f"{100 * found.residual:.3f} %"))
    output.result(output.table(rows))


def _ways(
    image: str | None, points: str | None, ruling_um: float | None, distance_um: float | None, stage_um: float | None
) -> dict[str, bool]:
    return {
        "IMAGE with --ruling-um": bool(image and ruling_um),
        "--points with --distance-um": bool(points and distance_um),
        "--points with --stage-um": bool(points and stage_um),
    }


def _wrong_ways(ways: list[str], image: str | None, points: str | None) -> str:
    if ways:
        return f"{' and '.join(ways)}: give one of them."
    if image:
        return f"{image}: how far apart are its lines? Give --ruling-um."
    if points:
        return "--points: give --distance-um (between the two points) or --stage-um (the step of the stage)."
    return "give IMAGE with --ruling-um, or --points with --distance-um or --stage-um."


def _two_points(text: str) -> tuple[Any, Any]:
    """Raises ValueError."""
    import numpy as np

    try:
        numbers = np.array([float(part) for part in text.split(",")])
    except ValueError:
        numbers = np.zeros(0)
    if numbers.shape != (4,) or not np.isfinite(numbers).all():
        raise ValueError(f"--points: {text!r} is not four numbers of pixels, X1,Y1,X2,Y2")
    return numbers[:2], numbers[2:]


@click.command("trap")
@click.argument("run")
@output.data_option
@click.option("--particle", type=int, required=True, help="The bead in the trap.")
@click.option("--exposure-us", type=click.FloatRange(min=0), help="If the frames do not say.")
@click.option("--localisation-px", type=click.FloatRange(min=0), help="Error of a coordinate; from `ep` if not said.")
@click.option("--radius-um", type=click.FloatRange(min=0, min_open=True), help="Instead of sample.radius_um.")
@click.option("--pixel-um", type=click.FloatRange(min=0, min_open=True), help="Instead of camera.pixel_um.")
@click.option("--temperature-k", type=click.FloatRange(min=1), help="Instead of sample.temperature_K.")
@output.json_option
def trap(
    run: str, data: Path, particle: int, exposure_us: float | None, localisation_px: float | None,
    radius_um: float | None, pixel_um: float | None, temperature_k: float | None, as_json: bool,
) -> None:  # fmt: skip
    """Stiffness of the trap that holds a particle of a RUN: three ways, each with its 95 % interval, and a plot.

    Temperature, viscosity, radius and height above the glass are those of [sample] in the run's settings.
    """
    import numpy as np

    from engine.physics.bead import Bead
    from engine.physics.stiffness import Camera, equipartition, msd_fit, power_spectrum
    from recorders import Run
    from recorders.named import find_run

    record = Run.open(find_run(run, data))
    settings, table = record.settings, record.tracks
    rows = table[table["particle"] == particle]
    if rows.empty:
        seen = table["particle"].value_counts().head(3)
        longest = ", ".join(f"{number} ({frames} frames)" for number, frames in seen.items())
        raise SettingsError(
            f"particle {particle}: {run} has none of that number. "
            + (f"Seen longest: {longest}" if longest else "It has no particles at all")
        )
    pixel = pixel_um or settings.camera.pixel_um
    if not pixel:
        raise SettingsError("camera.pixel_um: the run was not calibrated. Give --pixel-um (see calibrate scale)")
    sample = settings.sample
    bead = Bead(
        radius_um=radius_um or sample.radius_um, temperature_K=temperature_k or sample.temperature_K,
        viscosity_mPas=sample.viscosity_mPas, height_um=sample.height_um,
    )  # fmt: skip
    try:
        _ = bead.drag
    except ValueError as error:
        raise SettingsError(f"sample.height_um: {error}") from None
    if exposure_us is None:
        given = record.frames_table["exposure_us"].median()
        exposure_us = 0.0 if math.isnan(given) else float(given)
    if exposure_us > 1e6 / settings.camera.fps * 1.001:
        raise SettingsError(
            f"--exposure-us: {exposure_us:g} is longer than a frame ({1e6 / settings.camera.fps:g} µs at "
            f"{settings.camera.fps:g} frames/s)"
        )
    if localisation_px is None:
        ep = float(np.sqrt(np.nanmean(np.square(rows["ep"])))) if rows["ep"].notna().any() else 0.0
        localisation_px = 0.0 if math.isnan(ep) else ep
    camera = Camera(
        dt_s=1 / settings.camera.fps, exposure_s=exposure_us * 1e-6, localisation_um=localisation_px * pixel
    )
    first, last = int(rows["frame"].min()), int(rows["frame"].max())
    axes: dict[str, Any] = {}
    found: dict[str, list[Stiffness]] = {}
    for axis in ("x", "y"):
        x = np.full(last - first + 1, np.nan)
        x[rows["frame"].to_numpy() - first] = rows[axis].to_numpy() * pixel
        axes[axis] = x
        found[axis] = []
        for method in (equipartition, power_spectrum, msd_fit):
            try:
                found[axis].append(method(x, camera, bead))
            except (ValueError, np.linalg.LinAlgError) as error:
                output.talk(f"ringtrack: {axis}: {error}")
    if not any(found.values()):
        raise SettingsError(f"particle {particle}: too few positions to say anything of its trap")
    from engine.cli.trap_picture import draw

    folder = record.path.parent
    picture = draw(folder / f"trap_{particle}.png", axes, found, camera)
    if as_json:
        output.result_json({
            "particle": particle, "drag_pN_s_um": bead.drag, "kT_pN_um": bead.kT,
            "localisation_um": camera.localisation_um,
            "exposure_us": exposure_us, "plot": str(picture),
            "stiffness": {axis: [_plain(one) for one in ones] for axis, ones in found.items()},
        })  # fmt: skip
        return
    lines = [
        (
            f"{axis}, {one.method}",
            f"{one.k:.4g} pN/µm (95 %: {one.low:.4g} to {one.high:.4g}), corner {one.corner_hz:.4g} Hz",
        )
        for axis, ones in found.items()
        for one in ones
    ]  # fmt: skip
    lines += [
        ("taken off", f"localisation error of {1000 * camera.localisation_um:.2g} nm, exposure of {exposure_us:g} µs"),
        ("drag", f"{bead.drag:.4g} pN s/µm (radius {bead.radius_um:g} µm)"),
        ("plot", str(picture)),
    ]
    output.result(output.table(lines))


def _plain(one: Stiffness) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(one)
    return plain | {"corner_hz": one.corner_hz}
