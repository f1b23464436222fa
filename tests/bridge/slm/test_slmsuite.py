"""Our holograms on slmsuite's simulated modulator, through the display that drives real ones (extra `compare`)."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.slm.displays import open_display
from bridge.slm.displays.base import Picture
from bridge.slm.displays.vendor import Vendor
from bridge.slm.hologram import Holograms, Trap

pytest.importorskip("slmsuite")


def test_spots_of_slmsuites_modulator_are_where_ours_were_asked():
    display = open_display("slmsuite:slmsuite.hardware.slms.simulated:SimulatedSLM", 128, 96)
    display.open()
    traps = [Trap(x=9, y=-7), Trap(x=-12, y=5)]
    levels = Holograms(128, 96).superposition_levels(traps)
    display.show(Picture(traps=traps, levels=levels))
    assert isinstance(display, Vendor)
    shown = display._slm.phase
    far = np.abs(np.fft.fftshift(np.fft.fft2(np.exp(1j * shown)))) ** 2
    far /= far.sum()
    brightest = {(int(i % 128) - 64, int(i // 128) - 48) for i in np.argsort(far.ravel())[-2:]}
    assert brightest == {(9, -7), (-12, 5)}
    assert np.sort(far.ravel())[-2:] == pytest.approx(0.405, abs=0.01)  # (2/π)² for two: what superposition gives
    display.close()
