"""The monitor in a window of Tk for some seconds; prints pictures a second from its first picture on, as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from bridge.monitor.feed import LiveFeed
from bridge.monitor.show import show_window, toolkit
from bridge.monitor.window import Monitor


def main(address: str, seconds: float) -> None:
    """Look."""
    seen: list[Monitor] = []
    first: list[tuple[float, int]] = []

    def end() -> bool:
        if seen and seen[0].pictures >= 5 and not first:
            first.append((time.monotonic(), seen[0].pictures))
        return bool(first) and time.monotonic() > first[0][0] + seconds

    monitor = show_window(LiveFeed(address), folder=Path(), backend=toolkit("tk"), end=end, ready=seen.append)
    began, before = first[0]
    print(json.dumps({"per_second": (monitor.pictures - before) / (time.monotonic() - began)}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
