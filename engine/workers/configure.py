"""From an experiment's settings to its detector and its linking: what every process of a run builds alike."""

from __future__ import annotations

from engine.errors import SettingsError
from engine.experiment import Experiment
from engine.settings_rules import existing_cores, parse_cores
from engine.workers.centroids import CentroidDetector
from engine.workers.corrected import CorrectedDetector
from engine.workers.correction import Correction
from engine.workers.link_state import LinkState
from engine.workers.parameters import LocateParameters
from engine.workers.tiling import check_overlap, choose_tile


def workers_for(experiment: Experiment) -> int:
    """How many trackers work at once: as the settings say, else all cores, but two from five cores on."""
    if experiment.tracking.workers:
        return experiment.tracking.workers
    cores = len(parse_cores(experiment.tracking.cores)) or len(existing_cores())
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
    correction = Correction.from_settings(experiment.correction, experiment.camera)
    if correction is not None:
        return CorrectedDetector(parameters, correction, tile_hw)
    return CentroidDetector(parameters, tile_hw)


def link_state_for(experiment: Experiment) -> LinkState:
    """How features of this experiment are linked."""
    linking = experiment.linking
    return LinkState(
        linking.search_range,
        linking.memory,
        experiment.ring.max_particles,
        adaptive_stop=linking.adaptive_stop,
        adaptive_step=linking.adaptive_step,
        prediction=linking.prediction,
    )
