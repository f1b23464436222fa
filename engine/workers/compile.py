"""Compile (or load) what trackers and linker need: `python -P -m engine.workers.compile < experiment.toml`.

One process does it before the others start, so that they find everything in the cache.
"""

from __future__ import annotations

import sys

import engine.rings  # noqa: F401  the kernels of shared memory are compiled when they are imported
from engine.experiment import Experiment
from engine.workers.configure import detector_for, link_state_for


def main() -> None:
    """Run once through every kernel of the experiment on standard input."""
    experiment = Experiment.loads(sys.stdin.read())
    detector_for(experiment).warm()
    link_state_for(experiment).warm()


if __name__ == "__main__":
    main()
