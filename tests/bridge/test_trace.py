"""Frames as intervals: what overlaps lies in rows of its own, and nothing is invented."""

from __future__ import annotations

import numpy as np

from bridge.trace import frame_events
from engine.rows import RESULT_META


def test_steps_that_overlap_lie_in_rows_of_their_own() -> None:
    table = np.zeros(3, RESULT_META)
    table["frame"] = [0, 1, 2]
    ms = 1_000_000
    for i, meta in enumerate(table):
        start = (10 + 5 * i) * ms
        meta["t_received_ns"], meta["t_tracked_ns"], meta["t_linked_ns"], meta["t_published_ns"] = (
            start, start + 8 * ms, start + 9 * ms, start + 9 * ms,
        )  # fmt: skip
    events = list(frame_events(table))
    tracking = [event for event in events if event.get("cat") == "trackers"]
    assert [event["dur"] for event in tracking] == [8000.0] * 3
    lanes = [event["tid"] for event in tracking]
    assert lanes[0] != lanes[1]
    assert lanes[2] == lanes[0]
    rows = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert [rows[lane] for lane in lanes] == ["trackers", "trackers 2", "trackers"]
    assert not [event for event in events if event.get("cat") in ("sender", "network")]  # no times were given
