"""Compile (or load) what trackers and linker need, before the first of them exists."""

from __future__ import annotations

import engine.rings
import engine.workers.linker
import engine.workers.tracker  # noqa: F401  so that nobody has to import it again
from engine.experiment import Experiment
from engine.workers.configure import detector_for, link_state_for


def warm(experiment: Experiment) -> None:
    """Run once through every kernel of the experiment: numba finds it in its cache, or compiles it into the cache."""
    detector_for(experiment).warm()
    link_state_for(experiment).warm()
