"""Sums of particles are those of the rows one after the other, however they were cut."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine.rows import ROW
from recorders.particles import MEANS, Particles


@pytest.fixture
def rows() -> np.ndarray:
    rng = np.random.default_rng(2)
    out = np.zeros(3000, ROW)
    out["frame"] = np.arange(3000) // 50
    out["particle"] = rng.integers(-1, 70, 3000)  # -1 was never linked
    for name in MEANS:
        out[name] = rng.random(3000)
    return out


def test_particles_are_the_means_of_their_rows(rows: np.ndarray) -> None:
    found = Particles()
    found.add(rows)
    table = pd.DataFrame.from_records(found.table()).set_index("particle")
    linked = pd.DataFrame.from_records(rows[rows["particle"] >= 0]).astype(dict.fromkeys(MEANS, "f8"))
    groups = linked.groupby("particle")
    np.testing.assert_allclose(table[list(MEANS)], groups[list(MEANS)].mean(), rtol=1e-12)
    assert table["count"].equals(groups.size().rename("count"))
    assert table["first_frame"].equals(groups["frame"].min().rename("first_frame"))
    assert table["last_frame"].equals(groups["frame"].max().rename("last_frame"))


def test_the_same_rows_give_the_same_bytes_however_they_were_cut(rows: np.ndarray) -> None:
    whole, cut = Particles(), Particles()
    whole.add(rows)
    for start in range(0, len(rows), 7):
        piece = rows[start : start + 7]
        piece.flags.writeable = False  # a view that may not be written will do
        cut.add(piece)
    assert whole.table().tobytes() == cut.table().tobytes()
