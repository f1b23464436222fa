"""Viscosity of the water from the tracks of a run: `python examples/viscosity.py RUN [--plot out.png]`.

Spheres of a known diameter diffuse; their mean squared displacement grows as 4 D t (two dimensions), and the
Stokes-Einstein relation gives the viscosity: eta = kT / (3 pi diameter D). Short tracks are left out (noise, particles
that pass), the common drift of all particles is subtracted, the slope is fitted with an offset (the offset is the
error of localisation). The defaults are those of trackpy's own recording of 1 um spheres in water (bulk_water).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import trackpy

from recorders import Run

BOLTZMANN = 1.380649e-23  # J/K
BULK_WATER_PIXEL_UM = 100 / 285


@dataclass(frozen=True)
class Result:
    """What the tracks say of the fluid."""

    viscosity_mpa_s: float
    diffusion_um2_s: float
    offset_um2: float  # of the fit at lag 0
    msd_um2: pd.Series  # by lag in seconds
    tracks: int  # how many were long enough


def viscosity(
    tracks: pd.DataFrame,
    fps: float,
    pixel_um: float = BULK_WATER_PIXEL_UM,
    diameter_um: float = 1.0,
    temperature_k: float = 295.0,
    shortest: int = 25,
    longest_lag_s: float = 1.0,
) -> Result:
    """Compute the viscosity from tracks (columns frame, particle, x, y; frame numbers proportional to time).

    `shortest`: frames that a track must have. Raises ValueError if no track is long enough.
    """
    tracks = tracks[["frame", "particle", "x", "y"]].copy()
    tracks = trackpy.filter_stubs(tracks, shortest).reset_index(drop=True)
    if tracks.empty:
        raise ValueError(f"no track has {shortest} frames")
    steady = trackpy.subtract_drift(tracks, trackpy.compute_drift(tracks))
    msd = trackpy.emsd(steady, pixel_um, fps, max_lagtime=max(3, round(longest_lag_s * fps)))
    slope, offset = np.polyfit(msd.index, msd.to_numpy(), 1)
    diffusion = slope / 4
    pascal_seconds = BOLTZMANN * temperature_k / (3 * np.pi * diameter_um * 1e-6 * diffusion * 1e-12)
    return Result(pascal_seconds * 1e3, diffusion, offset, msd, tracks["particle"].nunique())


def plot(result: Result, path: Path) -> None:
    """Draw the mean squared displacement and the fit."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    lag_s = result.msd_um2.index.to_numpy()
    axes.plot(lag_s, result.msd_um2, "o", label=f"{result.tracks} tracks")
    fitted = 4 * result.diffusion_um2_s * lag_s + result.offset_um2
    axes.plot(lag_s, fitted, "-", label=f"4Dt, D = {result.diffusion_um2_s:.3f} µm²/s")
    axes.set(xlabel="lag time (s)", ylabel="mean squared displacement (µm²)")
    axes.set_title(f"viscosity {result.viscosity_mpa_s:.2f} mPa·s")
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Read the run, print the viscosity, draw the plot if one is wanted."""
    parser = argparse.ArgumentParser(description="viscosity from the tracks of a run")
    parser.add_argument("run", help="folder of the run, or its HDF5 file")
    parser.add_argument("--plot", type=Path, help="write a picture of the fit")
    parser.add_argument("--fps", type=float, help="frames a second (default: as set in the run)")
    parser.add_argument("--pixel-um", type=float, help="micrometres a pixel (default: as set in the run, else 100/285)")
    parser.add_argument("--diameter-um", type=float, default=1.0, help="of the spheres (default: 1)")
    parser.add_argument("--temperature", type=float, default=22.0, help="degrees Celsius (default: 22)")
    options = parser.parse_args(arguments)
    trackpy.quiet()
    run = Run.open(options.run)
    camera = run.settings.camera
    result = viscosity(
        run.tracks,
        options.fps or camera.fps,
        options.pixel_um or camera.pixel_um or BULK_WATER_PIXEL_UM,
        options.diameter_um,
        options.temperature + 273.15,
    )
    print(f"viscosity {result.viscosity_mpa_s:.3f} mPa.s")
    print(f"D = {result.diffusion_um2_s:.3f} um2/s from {result.tracks} tracks")
    if options.plot:
        plot(result, options.plot)
        print(f"plot: {options.plot}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
