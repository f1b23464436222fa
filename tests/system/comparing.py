"""What recorded features and tracks are compared with: trackpy's own, on the whole frames."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import trackpy
from numpy.typing import NDArray
from scipy.spatial import cKDTree

WITHIN_PX = 1e-3
trackpy.quiet()


def located(frames: NDArray[Any], diameter: int, **options: Any) -> pd.DataFrame:
    """trackpy's features of all frames, with the column `frame`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of frames without features, and of pandas' next version
        found = [trackpy.locate(image, diameter, **options).assign(frame=n) for n, image in enumerate(frames)]
        return pd.concat([features for features in found if len(features)], ignore_index=True)


def matched(ours: pd.DataFrame, theirs: pd.DataFrame) -> NDArray[np.intp]:
    """For each row of ours the row of theirs: one to one, none extra, none missing, within a thousandth of a pixel."""
    rows = np.full(len(ours), -1, np.intp)
    assert sorted(ours["frame"].unique()) == sorted(theirs["frame"].unique())
    our_groups, their_groups = ours.groupby("frame").indices, theirs.groupby("frame").indices
    our_xy, their_xy = ours[["x", "y"]].to_numpy(), theirs[["x", "y"]].to_numpy()
    for frame, mine in our_groups.items():
        other = their_groups[frame]
        assert len(mine) == len(other), f"frame {frame}: {len(mine)} features, trackpy has {len(other)}"
        distance, nearest = cKDTree(their_xy[other]).query(our_xy[mine])
        assert distance.max() <= WITHIN_PX, f"frame {frame}: a feature is {distance.max():.4g} px off"
        assert len(set(nearest)) == len(mine), f"frame {frame}: two features are one of trackpy's"
        rows[mine] = other[nearest]
    return rows


def assert_same_partition(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> None:
    """Each of our particles is exactly one of theirs, whatever their numbers."""
    pairs = len(np.unique(np.column_stack([ours, theirs]), axis=0))
    assert pairs == len(np.unique(ours)) == len(np.unique(theirs))


def linked(tracks: pd.DataFrame, search_range: float, memory: int) -> NDArray[np.int64]:
    """trackpy's identities of our own features, row by row; frames that are missing count for the memory."""
    features = tracks.drop(columns="particle").reset_index(drop=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas' next version
        theirs = trackpy.link(features, search_range, memory=memory)
    # trackpy sorts by frame; the index says which row was which.
    return theirs["particle"].reindex(features.index).to_numpy(np.int64)


def diffusion_px2_s(tracks: pd.DataFrame, fps: float, lags: int = 5) -> float:
    """D from the mean squared displacement: a quarter of the slope over the first lags."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas' next version
        msd = trackpy.emsd(tracks[["frame", "particle", "x", "y"]], 1.0, fps, max_lagtime=lags)
    return float(np.polyfit(msd.index, msd.to_numpy(), 1)[0] / 4)
