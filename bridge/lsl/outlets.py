"""The outlets of an experiment.

pylsl turns what it is given into C's types in Python, whatever it was. For a sample that is float64 in memory already
that is more work than liblsl's own, so liblsl is given the address (`lsl_push_sample_dtp`, `lsl_push_chunk_dtnp`).
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from bridge.lsl.describe import make_info, streams
from engine.experiment import Experiment

BUFFER_S = 30
"""Kept for a slow inlet: liblsl counts hundreds of samples where a stream has no rate."""
_NOW = ctypes.c_int(1)
"""Send it, instead of waiting for more."""


class Outlets:
    """The outlets of an experiment by what they are (`describe.streams`), there until `close`."""

    def __init__(self, pylsl: Any, experiment: Experiment) -> None:
        chunks = max(10, round(BUFFER_S * experiment.camera.fps / 100))
        # pylsl 1.16 is one module, later ones are several.
        self._check = pylsl.util.handle_error if hasattr(pylsl, "util") else pylsl.pylsl.handle_error
        wanted = streams(experiment)
        self._channels = {part: len(stream.channels) for part, stream in wanted.items()}
        self._open = {part: pylsl.StreamOutlet(make_info(pylsl, stream), 0, chunks) for part, stream in wanted.items()}

    def push(self, part: str, samples: npt.NDArray[np.float64] | str, stamp_s: float) -> None:
        """Samples `(n, channels)`, contiguous and writable, or a text of one marker, with one stamp on LSL's clock.

        liblsl copies them. Nothing if there is no such stream. ValueError for another number of channels.
        """
        outlet = self._open.get(part)
        if outlet is None:
            return
        if isinstance(samples, str):
            outlet.push_sample([samples], stamp_s)
            return
        if samples.ndim != 2 or samples.shape[1] != self._channels[part]:
            raise ValueError(f"samples {samples.shape} for the {self._channels[part]} channels of {part}")
        if len(samples) == 1:
            values = outlet.sample_type.from_buffer(samples)  # refuses what is not contiguous, or too small
            self._check(outlet.do_push_sample(outlet.obj, values, ctypes.c_double(stamp_s), _NOW))
        elif len(samples):
            values = (ctypes.c_double * samples.size).from_buffer(samples.data)
            stamps = (ctypes.c_double * len(samples)).from_buffer(np.full(len(samples), stamp_s).data)
            self._check(outlet.do_push_chunk_n(outlet.obj, values, ctypes.c_ulong(samples.size), stamps, _NOW))

    def consumers(self) -> int:
        """How many of the streams somebody listens to."""
        return sum(bool(outlet.have_consumers()) for outlet in self._open.values())

    def close(self) -> None:
        self._open.clear()
