"""The monitor as a part of a run (`monitor.enabled`): a window on the tracking machine's own desktop.

It looks at the run as any other monitor does. When somebody closes the window the process stays, without one, so that
the supervisor does not open another; without a desktop it says so once and waits for the end.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bridge.control import local_address
from engine.errors import MachineError
from engine.shm.wakeup import LONGEST_S

if TYPE_CHECKING:
    from engine.process import Job

COUNTERS = ("pictures", "closed")


def main(job: Job) -> None:
    """Show the window until the run stops."""
    from bridge.monitor.feed import LiveFeed
    from bridge.monitor.show import show_window, toolkit

    def over() -> bool:
        job.status.beat()
        return job.stopping

    try:
        backend = toolkit()
    except MachineError as error:
        job.log("warning", str(error))
        job.status.ready()
    else:
        job.status.ready()
        feed = LiveFeed(local_address(job.run_id))
        title = f"{job.experiment.experiment.name} · ringtrack"
        try:
            monitor = show_window(feed, folder=job.run_folder, backend=backend, title=title, end=over)
        except MachineError as error:  # a desktop that is named and not there
            job.log("warning", str(error))
        else:
            job.status.count("pictures", monitor.pictures)
            if not job.stopping:
                job.status.count("closed")
                job.log("info", "the window was closed; the run goes on")
    while not over():
        time.sleep(LONGEST_S / 2)
