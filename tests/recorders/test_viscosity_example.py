"""The example computes what was put in: spheres that diffuse in a fluid that flows, recorded as a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from engine.experiment import Experiment
from engine.rows import ROW
from recorders.hdf5 import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "viscosity.py"
FPS, PIXEL_UM, DIAMETER_UM, KELVIN, MPA_S = 24.0, 100 / 285, 1.0, 295.15, 0.955


@pytest.fixture
def run(job: Any, ring: Any) -> Path:
    """300 spheres, 200 frames, of which ten were lost on the way; noise features that live for a few frames."""
    random = np.random.default_rng(7)
    diffusion = 1.380649e-23 * KELVIN / (3 * np.pi * DIAMETER_UM * 1e-6 * MPA_S * 1e-3) * 1e12
    step_px = np.sqrt(2 * diffusion / FPS) / PIXEL_UM
    paths = np.cumsum(random.normal(0, step_px, (200, 300, 2)), axis=0) + 0.1 * np.arange(200)[:, None, None]
    paths += random.normal(0, 0.1, paths.shape)
    script = []
    for frame in range(200):
        if 50 <= frame < 60:
            continue
        rows = np.zeros(310, ROW)
        rows["frame"] = frame
        rows["particle"] = np.concatenate([np.arange(300), 1000 + 10 * (frame // 4) + np.arange(10)])
        rows["x"][:300], rows["y"][:300] = paths[frame].T
        rows["x"][300:] = random.uniform(0, 500, 10)
        script.append((ring.meta(frame, 310, ledger=int(frame > 50)), rows))
    camera = msgspec.structs.replace(Experiment().camera, fps=FPS)
    made = job([*script, ring.end(1)], [ring.loss(50, 59)], experiment=Experiment(camera=camera))
    main(made)
    return Path(made.run_folder)


def test_viscosity_of_a_simulated_fluid(run: Path, tmp_path: Path) -> None:
    picture = tmp_path / "msd.png"
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(run), "--plot", str(picture)], capture_output=True, text=True, check=True
    )
    value = float(done.stdout.split()[1])
    assert value == pytest.approx(MPA_S, rel=0.05)
    assert picture.stat().st_size > 10_000
