"""The plot of `ringtrack calibrate trap`: power spectrum and mean square displacement with their fits."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from engine.physics.bead import covariances, spectrum
from engine.physics.stiffness import Camera, Stiffness, longest_stretch, periodogram

BINS = 60


def draw(path: Path, axes: dict[str, Any], found: dict[str, list[Stiffness]], camera: Camera) -> Path:
    """Draw both axes of a trap; the path of the picture."""
    figure, panels = plt.subplots(2, len(axes), figsize=(10, 7), squeeze=False, layout="constrained")
    noise = camera.localisation_um**2
    for column, (axis, x) in enumerate(axes.items()):
        fits = {one.method: one for one in found[axis]}
        top, bottom = panels[0][column], panels[1][column]
        stretch = longest_stretch(x)
        if len(stretch) > BINS:
            f, power = periodogram(stretch, camera.dt_s)
            edges = np.unique(np.geomspace(1, len(f), BINS).astype(int)) - 1
            blocks = [slice(a, b) for a, b in pairwise(edges)]
            at = np.array([f[b].mean() for b in blocks])
            top.loglog(at, [power[b].mean() for b in blocks], ".", label="measured")
            if one := fits.get("power spectrum"):
                fit = spectrum(at, one.tau_s, one.variance_um2, camera.dt_s, camera.exposure_s, noise)
                top.loglog(at, fit, label=f"fit: {one.k:.3g} pN/µm")
                top.axvline(one.corner_hz, color="gray", lw=0.8)
        top.set(xlabel="Hz", ylabel="µm²/Hz", title=f"{axis}: power spectrum")
        top.legend()
        lags = np.arange(1, min(60, len(x) // 4))
        bottom.plot(lags * camera.dt_s, [np.nanmean((x[n:] - x[:-n]) ** 2) for n in lags], ".", label="measured")
        if one := fits.get("MSD"):
            c = covariances(np.arange(0.0, lags[-1] + 1), one.tau_s, one.variance_um2, camera.dt_s, camera.exposure_s)
            bottom.plot(lags * camera.dt_s, 2 * (c[0] + noise - c[1:]), label=f"fit: {one.k:.3g} pN/µm")
        bottom.set(xlabel="s", ylabel="µm²", title=f"{axis}: mean square displacement")
        bottom.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
