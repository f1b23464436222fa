"""What was found beside what was there: the demonstration's comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from bridge.simulator import Simulator

NEAR_PX = 3.0  # a feature farther from every bead than this is none
Table = npt.NDArray[np.void]


@dataclass(frozen=True)
class Comparison:
    """Sums over all tracked frames."""

    true: int  # beads, in all frames
    matched: int  # of those, found within NEAR_PX
    extra: int  # features that are no bead
    close: int  # beads that were missed and have a neighbour nearer than tracking.separation: not two features
    rms_px: float  # of x and y, of beads that have no such neighbour
    rms_all_px: float  # of all that were found
    beads: int
    tracks: int
    swaps: int  # how often a particle's next row belongs to another bead
    errors_px: npt.NDArray[np.float64]  # found minus true, x and y, of beads that have no such neighbour


def compare(folder: Path, simulator: Simulator) -> Comparison:
    """Compare the tracks of a run with the truth of the simulator that it was given."""
    from recorders.run import Run

    run = Run.open(folder)
    tracks, table = run.tracks_array, run.frames_table
    here = table[table["state"] == "tracked"]
    first = int((table["counter"] - table["frame"]).iloc[0])  # the simulator's frame n has counter n
    truth = simulator.truth(int(here["frame"].max()) + first + 1)
    by_frame = truth.reshape(-1, simulator.scene.beads)
    separation = run.settings.tracking.separation
    owner = np.full(len(tracks), -1)  # the bead of each row
    squares = np.full(len(tracks), np.nan)
    apart = np.zeros(len(tracks), bool)
    errors: list[npt.NDArray[np.float64]] = []
    close = 0
    starts = np.searchsorted(tracks["frame"], here["frame"])
    ends = np.searchsorted(tracks["frame"], here["frame"], side="right")
    for number, start, end in zip(here["frame"], starts, ends):
        beads = by_frame[number + first]
        owner[start:end], squares[start:end] = _match(tracks[start:end], beads)
        lonely = _nearest(beads) >= separation
        apart[start:end] = lonely[owner[start:end]]
        good = (owner[start:end] >= 0) & apart[start:end]
        at = beads[owner[start:end][good]]
        errors += [tracks[start:end][name][good] - at[name] for name in ("x", "y")]
        close += int((~lonely[np.setdiff1d(np.arange(len(beads)), owner[start:end])]).sum())
    matched = owner >= 0
    return Comparison(
        true=len(here) * simulator.scene.beads,
        matched=int(matched.sum()),
        extra=int((~matched).sum()),
        close=close,
        rms_px=_rms(squares[matched & apart]),
        rms_all_px=_rms(squares[matched]),
        beads=simulator.scene.beads,
        tracks=len(np.unique(tracks["particle"])),
        swaps=_swaps(tracks["particle"], owner),
        errors_px=np.concatenate(errors),
    )


def _rms(squares: npt.NDArray[np.float64]) -> float:
    """Of one coordinate, from squared distances."""
    return float(np.sqrt(squares.mean() / 2)) if len(squares) else float("nan")


def _match(found: Table, beads: Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """For each feature its bead (-1: none), each bead once, the nearest pairs first; and the squared distance."""
    owner, own_square = np.full(len(found), -1), np.full(len(found), np.nan)
    squares = (found["x"][:, None] - beads["x"]) ** 2 + (found["y"][:, None] - beads["y"]) ** 2
    features, candidates = np.nonzero(squares <= NEAR_PX**2)
    taken: set[int] = set()
    for pair in np.argsort(squares[features, candidates], kind="stable"):
        feature, bead = int(features[pair]), int(candidates[pair])
        if owner[feature] < 0 and bead not in taken:
            owner[feature] = bead
            taken.add(bead)
            own_square[feature] = squares[feature, bead]
    return owner, own_square


def _nearest(beads: Table) -> npt.NDArray[np.float64]:
    """How far each bead is from the next one."""
    distance = np.hypot(beads["x"][:, None] - beads["x"], beads["y"][:, None] - beads["y"])
    np.fill_diagonal(distance, np.inf)
    nearest: npt.NDArray[np.float64] = distance.min(axis=1)
    return nearest


def _swaps(particles: npt.NDArray[np.int64], owner: npt.NDArray[np.int64]) -> int:
    known = owner >= 0
    order = np.argsort(particles[known], kind="stable")
    particle, bead = particles[known][order], owner[known][order]
    return int(((particle[1:] == particle[:-1]) & (bead[1:] != bead[:-1])).sum())
