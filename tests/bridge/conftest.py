"""What the tests of the bridge share."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import zmq

sys.path.insert(0, str(Path(__file__).parent))  # helpers_*.py


@pytest.fixture(scope="session", autouse=True)
def zeromq_has_its_own_thread() -> None:
    """pyzmq starts one thread for messages without a copy, once in a process, and keeps it."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://first")
        other.connect("inproc://first")
        tracker = one.send(np.zeros(1 << 20, np.uint8), copy=False, track=True)
        other.recv()
        assert tracker is not None
        tracker.wait(5)
