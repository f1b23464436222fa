"""`engine.batch`: the table of `trackpy.batch`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import trackpy

import engine
from bridge.simulator import Simulator

trackpy.quiet()
FRAMES = [
    frame
    for frame, _ in zip((image for image, _ in Simulator(width=120, height=100, beads=8, seed=2).frames()), range(4))
]


def test_the_table_is_trackpys() -> None:
    expected = trackpy.batch(FRAMES, 11, minmass=2000, processes=1)
    found = engine.batch(FRAMES, 11, minmass=2000)
    assert list(found.columns) == list(expected.columns)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-7)


def test_a_bar_is_shown_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    engine.batch(iter(FRAMES), 11, progress=True)
    out = capsys.readouterr()
    assert out.out == ""


def test_tables_go_where_they_are_sent_and_may_be_changed_before() -> None:
    class Store:
        tables: list[pd.DataFrame]

        def put(self, table: pd.DataFrame) -> None:
            self.tables.append(table)

    store = Store()
    store.tables = []
    returned = engine.batch(FRAMES, 11, store, after_locate=lambda number, table: table.head(number))
    assert returned is store
    assert [len(table) for table in store.tables] == [0, 1, 2, 3]


def test_frames_without_features_leave_an_empty_table() -> None:
    with pytest.warns(UserWarning, match="black"):
        assert list(engine.batch([np.zeros((60, 60), np.uint8)], 11).columns)[-1] == "frame"


def test_what_is_not_offered_is_refused() -> None:
    with pytest.raises(ValueError, match="processes"):
        engine.batch(FRAMES, 11, processes=2)
