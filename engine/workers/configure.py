"""From an experiment's settings to its detector and its linking: what every process of a run builds alike."""

from __future__ import annotations

from engine.experiment import Experiment
from engine.settings_rules import existing_cores, parse_cores


def workers_for(experiment: Experiment) -> int:
    """How many trackers work at once: as the settings say, else all cores, but two from five cores on."""
    if experiment.tracking.workers:
        return experiment.tracking.workers
    cores = len(parse_cores(experiment.tracking.cores)) or len(existing_cores())
    return cores - 2 if cores >= 5 and not experiment.tracking.cores else cores
