"""What was found beside what was there: the demonstration's comparison and its plot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from bridge.simulator import Simulator

NEAR_PX = 3.0  # a feature farther from every bead than this is none
LONGEST_DRAWN = 400  # trajectories in the plot
Table = npt.NDArray[np.void]


@dataclass(frozen=True)
class Comparison:
    """Sums over all recorded frames."""

    true: int  # beads, in all frames
    matched: int  # of those, found within NEAR_PX
    extra: int  # features that are no bead
    close: int  # beads that were missed and have a neighbour nearer than tracking.separation
    rms_px: float  # of x and y of the matched ones
    beads: int
    tracks: int
    swaps: int  # how often a particle's next row belongs to another bead


def compare(folder: Path, simulator: Simulator) -> Comparison:
    """Compare the tracks of a run with the truth of the simulator that it was given."""
    from recorders.run import Run

    run = Run.open(folder)
    tracks, table = run.tracks_array, run.frames_table
    here = table[table["state"] != "lost"]
    first = int((table["counter"] - table["frame"]).iloc[0])  # the simulator's frame n has counter n
    truth = simulator.truth(int(here["frame"].max()) + first + 1)
    by_frame = truth.reshape(-1, simulator.scene.beads)
    separation = run.settings.tracking.separation
    owner = np.full(len(tracks), -1)  # the bead of each row
    close, squares = 0, 0.0
    starts = np.searchsorted(tracks["frame"], here["frame"])
    ends = np.searchsorted(tracks["frame"], here["frame"], side="right")
    for number, start, end in zip(here["frame"], starts, ends):
        beads = by_frame[number + first]
        owner[start:end], square = _match(tracks[start:end], beads)
        squares += square
        missed = np.setdiff1d(np.arange(len(beads)), owner[start:end])
        close += sum(_nearest(beads, bead) < separation for bead in missed)
    matched = int((owner >= 0).sum())
    return Comparison(
        true=len(here) * simulator.scene.beads,
        matched=matched,
        extra=int((owner < 0).sum()),
        close=close,
        rms_px=float(np.sqrt(squares / (2 * matched))) if matched else float("nan"),
        beads=simulator.scene.beads,
        tracks=len(np.unique(tracks["particle"])),
        swaps=_swaps(tracks["particle"], owner),
    )


def _match(found: Table, beads: Table) -> tuple[npt.NDArray[np.int64], float]:
    """For each feature its bead (-1: none), each bead once, the nearest pairs first; and the sum of squares."""
    owner = np.full(len(found), -1)
    squares = (found["x"][:, None] - beads["x"]) ** 2 + (found["y"][:, None] - beads["y"]) ** 2
    features, candidates = np.nonzero(squares <= NEAR_PX**2)
    taken: set[int] = set()
    total = 0.0
    for pair in np.argsort(squares[features, candidates], kind="stable"):
        feature, bead = int(features[pair]), int(candidates[pair])
        if owner[feature] < 0 and bead not in taken:
            owner[feature] = bead
            taken.add(bead)
            total += float(squares[feature, bead])
    return owner, total


def _nearest(beads: Table, bead: int) -> float:
    distance = np.hypot(beads["x"] - beads["x"][bead], beads["y"] - beads["y"][bead])
    distance[bead] = np.inf
    return float(distance.min())


def _swaps(particles: npt.NDArray[np.int64], owner: npt.NDArray[np.int64]) -> int:
    known = owner >= 0
    order = np.argsort(particles[known], kind="stable")
    particle, bead = particles[known][order], owner[known][order]
    return int(((particle[1:] == particle[:-1]) & (bead[1:] != bead[:-1])).sum())


def draw(folder: Path, found: Comparison) -> Path:
    """Write the trajectories as `trajectories.png` into the folder of the run."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from recorders.run import Run

    run = Run.open(folder)
    camera = run.settings.camera
    figure, axes = plt.subplots(figsize=(8, 8.4), dpi=110, layout="constrained")
    longest = run.tracks["particle"].value_counts().index[:LONGEST_DRAWN]
    for particle, rows in run.tracks[run.tracks["particle"].isin(longest)].groupby("particle"):
        axes.plot(rows["x"], rows["y"], linewidth=0.7, color=plt.get_cmap("turbo")((hash(particle) * 0.618) % 1.0))
    axes.set(xlim=(0, camera.width), ylim=(camera.height, 0), aspect="equal", xlabel="x (pixels)", ylabel="y (pixels)")
    frames = len(run.frames_table)
    axes.set_title(
        f"{found.tracks} trajectories, {frames} frames, {frames / camera.fps:.1f} s; "
        f"error {found.rms_px:.3f} px RMS, {found.matched} of {found.true} found",
        fontsize=10,
    )
    path = folder / "trajectories.png"
    figure.savefig(path)
    plt.close(figure)
    return path
