"""From an experiment's settings to its detector and its linking: what every process of a run builds alike."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import msgspec

from engine.cores import existing_cores, parse_cores
from engine.errors import SettingsError
from engine.experiment import Camera, Experiment
from engine.experiment import Correction as Settings
from engine.workers.centroids import CentroidDetector
from engine.workers.corrected import CorrectedDetector
from engine.workers.correction import Correction
from engine.workers.link_state import LinkState
from engine.workers.parameters import LocateParameters
from engine.workers.tiling import check_overlap, choose_tile

LIVE_MEMORY = 10
"""Frames of memory that the linker's state has room for in any run."""


def workers_for(experiment: Experiment) -> int:
    """How many trackers work at once: as the settings say, else all cores, but two from five cores on.

    With light there is one less on fewer: its delay is that of every frame, and grows when all cores are busy.
    """
    if experiment.tracking.workers:
        return experiment.tracking.workers
    cores = len(parse_cores(experiment.tracking.cores)) or len(existing_cores())
    if experiment.slm.enabled and cores < 5 and not experiment.tracking.cores:
        return max(1, cores - 1)
    return cores - 2 if cores >= 5 and not experiment.tracking.cores else cores


def detector_for(experiment: Experiment) -> CentroidDetector | CorrectedDetector:
    """The detector of this experiment, cut into its tiles. Raises SettingsError if it cannot be."""
    tracking = experiment.tracking
    try:
        parameters = LocateParameters.from_settings(tracking, experiment.camera)
    except ValueError as error:
        raise SettingsError(f"[tracking]: {error}") from error
    check_overlap(tracking.tile_overlap, parameters)
    chosen = choose_tile(parameters.shape_hw, workers_for(experiment))
    tile_hw = (tracking.tile_height or chosen[0], tracking.tile_width or chosen[1])
    correction = correction_for(experiment)
    if correction is not None:
        return CorrectedDetector(parameters, correction, tile_hw)
    return CentroidDetector(parameters, tile_hw)


def correction_for(experiment: Experiment) -> Correction | None:
    """The correction of frames; its files are read again only when they are others. Raises SettingsError."""
    settings = experiment.correction
    stamps = tuple(_stamp(getattr(settings, name)) for name in settings.FILES)
    return _correction(settings, experiment.camera, stamps)


@lru_cache(maxsize=2)
def _correction(settings: Settings, camera: Camera, _: tuple[tuple[int, int] | None, ...]) -> Correction | None:
    return Correction.from_settings(settings, camera)


def _stamp(path: str) -> tuple[int, int] | None:
    """By which a file is told from another one of the same name."""
    try:
        found = Path(path).stat() if path else None
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size)


def link_state_for(experiment: Experiment, started_with: Experiment | None = None) -> LinkState:
    """How features of this experiment are linked; the state is laid out for what the run was started with."""
    linking, longest = experiment.linking, longest_memory(started_with or experiment)
    return LinkState(
        linking.search_range,
        linking.memory,
        experiment.ring.max_particles,
        adaptive_stop=linking.adaptive_stop,
        adaptive_step=linking.adaptive_step,
        prediction=linking.prediction,
        longest_memory=longest,
    )


def longest_memory(started_with: Experiment) -> int:
    """So far `linking.memory` can be raised while a run goes on."""
    return max(started_with.linking.memory, LIVE_MEMORY)


def scratch_bytes_for(experiment: Experiment) -> int:
    """Scratch memory of a frame in work, with room for features half as far apart: settings change meanwhile."""
    tracking = experiment.tracking
    closer = msgspec.structs.replace(tracking, separation=max(1, tracking.separation // 2))
    nearer = msgspec.structs.replace(experiment, tracking=closer)
    return max(detector_for(experiment).scratch_bytes, detector_for(nearer).scratch_bytes)
