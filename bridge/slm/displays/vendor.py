"""Any modulator that slmsuite has a driver for: `slmsuite:slmsuite.hardware.slms.holoeye:Holoeye`.

An extra (`pip install slmsuite`): the driver's class is made without arguments, slmsuite's own simulated one with its
resolution. Map and look-up table are ours, so the driver is given the phase of our levels.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from bridge.slm.displays.base import DisplayError, Picture
from bridge.slm.levels import Levels, no_phase, phase_of


class Vendor:
    """A `Display`."""

    wants_levels = True

    def __init__(self, driver: str, width: int, height: int) -> None:
        self._driver, self._width, self._height = driver, width, height
        self._slm: Any = None

    def open(self) -> None:
        module, _, name = self._driver.rpartition(":")
        try:
            kind = getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            raise DisplayError(f"{error.name} is missing here; try: pip install slmsuite") from None
        except AttributeError:
            raise DisplayError(f"{module} has no {name}") from None
        try:
            self._slm = kind((self._width, self._height)) if name == "SimulatedSLM" else kind()
        except Exception as error:  # whatever a vendor's kit raises
            raise DisplayError(f"{self._driver} did not start: {error}") from None
        if tuple(self._slm.shape) != (self._height, self._width):
            height, width = self._slm.shape
            self.close()
            raise DisplayError(f"{self._driver} has {width} x {height} pixels, slm.width x slm.height is another")
        self.blank()

    def show(self, picture: Picture) -> None:
        assert picture.levels is not None
        self._write(picture.levels)

    def blank(self) -> None:
        self._write(no_phase(self._height, self._width))

    def look(self) -> None:
        """A driver has no question that would tell."""

    def close(self) -> None:
        slm, self._slm = self._slm, None
        if slm is not None:
            try:
                slm.close()
            except Exception:  # it is gone either way
                return

    def _write(self, levels: Levels) -> None:
        if self._slm is None:
            raise DisplayError(f"{self._driver} is not open")
        try:
            self._slm.set_phase(phase_of(levels), settle=False)
        except Exception as error:  # whatever a vendor's kit raises
            raise DisplayError(f"{self._driver}: {error}") from None
