"""Signals that ask a run to stop, for a loop that sleeps in a selector."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def heard_by(handler: Callable[[int, object], None]) -> Iterator[int]:
    """Call `handler` at each of `STOP_SIGNALS`; yields a descriptor that is readable whenever one has come.

    The handlers of before come back at the end. For the main thread alone, as Python's signals are.
    """
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {number: signal.signal(number, handler) for number in STOP_SIGNALS}
    wake = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    try:
        yield read_end
    finally:
        signal.set_wakeup_fd(wake)
        for number, old in before.items():
            signal.signal(number, old)
        os.close(read_end)
        os.close(write_end)
