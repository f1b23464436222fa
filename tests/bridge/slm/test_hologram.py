"""Holograms against the far field: the Fourier transform of what the modulator makes of the light."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bridge.slm.corrections import Modulator, zernike
from bridge.slm.hologram import Holograms, Trap

SIZE = 256


def ring(count: int, radius: float = 40.0, offset: tuple[float, float] = (20.3, -11.7)) -> list[Trap]:
    angle = np.arange(count) * 2 * math.pi / count + 0.1
    return [Trap(x=offset[0] + radius * math.cos(a), y=offset[1] + radius * math.sin(a)) for a in angle]


def spot(phase: np.ndarray, near: Trap, finer: int = 8) -> tuple[float, float]:
    """Where the light really goes near a trap, in orders: the peak of the padded far field, by a parabola."""
    height, width = phase.shape
    u, v = np.arange(width) - width // 2, np.arange(height) - height // 2
    fine = np.arange(-finer, finer + 1) / finer
    x, y = near.x + fine, near.y + fine
    field = (
        np.exp(-2j * np.pi * np.outer(y, v) / height)
        @ np.exp(1j * phase)
        @ np.exp(-2j * np.pi * np.outer(u, x) / width)
    )
    power = np.abs(field) ** 2
    row, column = np.unravel_index(power.argmax(), power.shape)
    row, column = min(max(row, 1), len(y) - 2), min(max(column, 1), len(x) - 2)

    def vertex(a: float, b: float, c: float) -> float:
        return 0.5 * (a - c) / (a - 2 * b + c)

    return (
        x[column] + vertex(*power[row, column - 1 : column + 2]) / finer,
        y[row] + vertex(*power[row - 1 : row + 2, column]) / finer,
    )


def test_spots_are_where_they_were_asked_between_the_orders_too():
    holograms, traps = Holograms(SIZE, SIZE), ring(8)
    for phase in (holograms.weighted(traps), holograms.superposition(traps)):
        for trap in traps:
            x, y = spot(phase, trap)
            assert math.hypot(x - trap.x, y - trap.y) < 0.1


def test_the_far_field_of_one_trap_is_the_transform_of_the_plane():
    phase = Holograms(64, 48).superposition([Trap(x=5, y=-7)])
    far = np.abs(np.fft.fft2(np.exp(1j * phase))) ** 2 / phase.size**2
    assert np.unravel_index(far.argmax(), far.shape) == (48 - 7, 5)
    assert far.max() > 0.99


def test_weighted_gerchberg_saxton_is_uniform_and_keeps_the_light():
    holograms, traps = Holograms(SIZE, SIZE), ring(20)
    quality = holograms.quality(holograms.weighted(traps), traps)
    assert quality.uniformity >= 0.98
    assert quality.efficiency > 0.75  # a ring is the hardest: its ghosts fall onto itself
    assert quality.efficiency == pytest.approx(sum(quality.intensities))


def test_the_next_command_is_as_good_once_the_weights_are_known():
    holograms, traps = Holograms(SIZE, SIZE), ring(20)
    before = holograms.quality(holograms.superposition(traps), traps).uniformity
    holograms.weighted(traps, 30)
    assert holograms.quality(holograms.superposition(traps), traps).uniformity > max(0.97, before)


def test_asked_intensities_are_given():
    traps = [Trap(x=10, y=3), Trap(x=-20, y=9, intensity=3.0), Trap(x=31, y=-25)]
    holograms = Holograms(SIZE, SIZE)
    got = holograms.quality(holograms.weighted(traps, 30), traps).intensities
    assert got[1] / got[0] == pytest.approx(3.0, rel=0.02)


def test_a_lens_moves_the_focus_and_is_undone_by_its_opposite():
    holograms = Holograms(SIZE, SIZE)
    deep, flat = Trap(x=12, y=5, z=9.0), Trap(x=12, y=5)
    phase = holograms.superposition([deep])
    assert holograms.quality(phase, [deep]).efficiency > 0.99
    assert holograms.quality(phase, [flat]).efficiency < 0.2


def test_random_phases_are_kept_so_that_nothing_flickers():
    holograms, traps = Holograms(SIZE, SIZE), ring(6)
    assert (holograms.superposition_levels(traps) == holograms.superposition_levels(traps)).all()


def test_the_polynomial_of_the_arc_tangent_is_right_to_the_level():
    holograms, traps = Holograms(SIZE, SIZE), ring(6)
    levels = holograms.superposition_levels(traps).astype(int)
    of_v, of_u = holograms.phasors(traps)
    exact = np.angle((of_v.T * np.exp(1j * holograms._kept(6))) @ of_u) / (2 * math.pi) * 256 + 128
    assert np.max(np.abs((levels - exact + 128) % 256 - 128)) < 0.52


def test_maps_are_added_modulo_two_pi_and_the_table_comes_last():
    phase = np.array([[0, 200]], np.uint8)
    plain = Modulator(1, 2, add_rad=np.array([[math.pi, math.pi]]))
    assert plain.levels(phase).tolist() == [[128, 72]]
    assert Modulator(1, 2, table=np.arange(255, -1, -1, dtype=np.uint8)).levels(phase).tolist() == [[255, 55]]
    with pytest.raises(ValueError, match="look-up table"):
        Modulator(1, 2, table=np.zeros(17, np.uint8))


def test_zernike_polynomials_are_orthonormal():
    kinds = [(0, 0), (1, 1), (1, -1), (2, 0), (2, 2), (3, -1), (4, 0)]
    v, u = np.mgrid[:400, :400]
    inside = np.hypot(u - 200, v - 200) < 200
    values = np.array([zernike({kind: 1.0}, 400, 400)[inside] for kind in kinds])
    np.testing.assert_allclose(values @ values.T / inside.sum(), np.eye(len(kinds)), atol=0.03)
    with pytest.raises(ValueError, match="no Zernike"):
        zernike({(2, 1): 1.0}, 4, 4)
