"""Settings that change while a run goes on: check, publish, undo, and see beforehand what they would find.

A change is checked like the file, and by building the detector that it asks for: what would need more memory than the
run was started with is refused with the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import SettingsError
from engine.live import LIVE_KEYS, LiveSettings, Recording, Version
from engine.rings import Rings
from engine.rows import FILTERS, RESULT_META, ROW
from engine.settings import changed
from engine.settings_names import fields_of
from engine.shm.versions import KEPT, VersionGoneError

if TYPE_CHECKING:
    from engine.experiment import Experiment
    from engine.workers.centroids import CentroidDetector
    from engine.workers.corrected import CorrectedDetector


class Tuning:
    """The one writer of a run's settings. For one process at a time: the control server."""

    def __init__(self, rings: Rings) -> None:
        self._rings = rings
        self.live = LiveSettings(rings)
        self._detector: tuple[Experiment, CentroidDetector | CorrectedDetector] | None = None

    def describe(self, version: int = 0) -> dict[str, Any]:
        """A version (0: the newest) with all its values and where Undo leads. Raises SettingsError if it is gone."""
        number = version or self.live.newest
        try:
            undo_to = self.live.version(number).undo_to
            return self.live.as_dict(number) | {"newest": self.live.newest, "undo_to": undo_to or None}
        except VersionGoneError as error:
            raise SettingsError(str(error)) from None

    def change(self, values: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Put other values into force; the version, and what is different from the one before.

        Nothing different: the version that there is. Raises SettingsError, which names all faults; nothing is changed.
        """
        number = self.live.newest
        experiment = self._wanted(values)
        before = self.live.version(number)
        wanted = msgspec.structs.replace(
            before, tracking=experiment.tracking, linking=experiment.linking, undo_to=number
        )
        if (wanted.tracking, wanted.linking) == (before.tracking, before.linking):
            return number, {}
        self._fits(experiment)
        return self._publish(wanted), _different(before, wanted)

    def undo(self) -> tuple[int, dict[str, Any]]:
        """Bring back what the last change replaced, as a new version. Again: the one before that."""
        before = self.live.version(self.live.newest)
        if not before.undo_to:
            raise SettingsError("there is no earlier version of the settings to go back to")
        try:
            target = self.live.version(before.undo_to)
        except VersionGoneError as error:
            raise SettingsError(str(error)) from None
        target = msgspec.structs.replace(target, recording=before.recording, background=before.background)
        return self._publish(target), _different(before, target)

    def record(self, recording: Recording) -> int:
        """Record from the next frame on, or not; the version."""
        now = self.live.version(self.live.newest)
        return self._publish(msgspec.structs.replace(now, recording=recording))

    def background(self, path: str) -> int:
        """Subtract another background from the next frame on; the version."""
        now = self.live.version(self.live.newest)
        return self._publish(msgspec.structs.replace(now, background=path))

    def preview(
        self, values: Mapping[str, Any], pixels: NDArray[Any], between: Callable[[], None] = lambda: None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Features (ROW, not linked) that a frame would have with these values, and what each filter removed."""
        experiment = self._wanted(values)
        detector = self._fits(experiment)
        rows = np.zeros(experiment.ring.max_particles, ROW)
        meta = np.zeros(1, RESULT_META)
        scratch = np.zeros(detector.scratch_bytes, np.uint8)
        for number, step in enumerate(detector.steps):
            for tile in range(1 if step.whole or number == len(detector.steps) - 1 else detector.tiles):
                detector.run(number, tile, pixels, scratch, rows, meta)
                between()
        filtered = {name: int(meta[f"removed_{name}"][0]) for name in FILTERS}
        return rows[: int(meta["rows"][0])], {"found": int(meta["found"][0]), "removed": filtered}

    def _wanted(self, values: Mapping[str, Any]) -> Experiment:
        fixed = [key for key in values if key not in LIVE_KEYS and _exists(key)]
        if fixed:
            raise SettingsError(
                f"{', '.join(fixed)}: cannot be changed while a run goes on; "
                f"what can: {', '.join(LIVE_KEYS)}. Change the file and start another run"
            )
        return changed(self.live.experiment(self.live.newest), values)

    def _fits(self, experiment: Experiment) -> CentroidDetector | CorrectedDetector:
        """The detector of these settings. Raises SettingsError if the run's memory is too small for it."""
        from engine.workers.configure import detector_for, longest_memory

        started_with, geometry = self._rings.plan.experiment, self._rings.plan.geometry
        longest = longest_memory(started_with)
        if experiment.linking.memory > longest:
            raise SettingsError(
                f"linking.memory: {experiment.linking.memory} is more than this run has room for: {longest}. "
                "Start another run with it in the file"
            )
        if self._detector is None or self._detector[0] != experiment:
            self._detector = experiment, detector_for(experiment)
            if experiment.tracking.precision != started_with.tracking.precision:
                self._detector[1].warm()  # here, before anybody needs them: trackers load what is compiled
        detector = self._detector[1]
        if detector.scratch_bytes > geometry.scratch_bytes:
            raise SettingsError(
                f"tracking.separation: {experiment.tracking.separation} is too small for a run that was started with "
                f"{started_with.tracking.separation}; about half of it is the least. Start another run with it"
            )
        return detector

    def _publish(self, version: Version) -> int:
        newest = self.live.newest
        oldest = self._oldest_in_use()
        if newest + 1 - oldest >= KEPT - 2:
            raise SettingsError(f"{KEPT} changes are waiting for their first frame; one more is refused")
        return self.live.publish(version)

    def _oldest_in_use(self) -> int:
        """The oldest version that a frame in work may need: that of the newest result, or of the oldest frame after it.

        Places before the first result are stamped with the versions since the first frame: the oldest of the ring.
        """
        frames, results = self._rings.frames, self._rings.results
        first = max(0, results.newest, frames.newest + 1 - frames.slots)
        return int(frames.record(first)["settings"][0]) if frames.newest >= 0 else self.live.newest


def _exists(key: str) -> bool:
    section, _, name = key.partition(".")
    return section == "notes" or name in fields_of(section)


def _different(before: Version, after: Version) -> dict[str, Any]:
    """The keys whose values differ, with the new ones."""
    found = {}
    for section in ("tracking", "linking"):
        old, new = getattr(before, section), getattr(after, section)
        for field in msgspec.structs.fields(type(old)):
            if getattr(old, field.name) != getattr(new, field.name):
                found[f"{section}.{field.name}"] = getattr(new, field.name)
    return found
