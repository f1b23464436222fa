"""Vectors of kernels do what numpy does, lane by lane."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from engine.workers.lanes import (
    as_f32,
    as_f64,
    as_i32,
    as_i64,
    as_sums,
    as_u8,
    lane,
    larger,
    load,
    load_like,
    plus_fused,
    select,
    splat,
    splat_like,
    store,
)
from engine.workers.lanes_across import (
    bits,
    count_ones,
    even_lanes,
    largest_of_fours,
    last_in_all,
    masked_sums,
    most,
    moved_up,
    odd_lanes,
    pair_sums,
    sums_of_fours,
    total,
    trailing_zeros,
)
from engine.workers.lanes_halves import half_as_floats, joined_halves, load_halves
from engine.workers.lanes_integer import down_by, plus_at_most, up_by, upper_product


def row(dtype: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 100, (2, 64)).astype(dtype)
    largest = min(int(np.iinfo(dtype).max), 2**31 - 1)
    return rng.integers(0, largest, (2, 64)).astype(dtype)


@njit
def _arithmetic(a: Any, b: Any, out: Any) -> None:
    one, other = load(a, 0, 3, 8), load(b, 1, 5, 8)
    store(out, 0, 0, one + other)
    store(out, 1, 0, one - other)
    store(out, 2, 0, one * other)
    store(out, 3, 0, larger(one, other))
    store(out, 4, 0, select(one >= other, one, other - one))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_arithmetic(dtype: Any) -> None:
    a, b, out = row(dtype), row(dtype, 1), np.zeros((5, 64), dtype)
    _arithmetic(a, b, out)
    one, other = a[0, 3:11], b[1, 5:13]
    with np.errstate(over="ignore"):
        expected = [one + other, one - other, one * other, np.maximum(one, other)]
        expected.append(np.where(one >= other, one, other - one))
    np.testing.assert_array_equal(out[:, :8], expected)


def test_conversions() -> None:
    @njit
    def conversions(a: Any, out: Any) -> None:
        v = load(a, 0, 0, 16)
        store(out, 0, 0, as_f64(as_i32(v)))
        store(out, 1, 0, as_f64(as_f32(v)))
        store(out, 2, 0, as_f64(as_i64(v)))
        store(out, 3, 0, as_f64(as_u8(as_i32(v))))
        store(out, 4, 0, as_f64(as_sums(v)))

    a, out = row(np.uint16), np.zeros((5, 16))
    conversions(a, out)
    v = a[0, :16].astype(float)
    np.testing.assert_array_equal(out, [v, v, v, v % 256, v])


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_even_and_odd_columns_are_taken_apart_and_joined(kind: Any, single: bool) -> None:
    @njit
    def apart(a: Any, offset: Any, floats: Any, joined: Any) -> None:
        words = load_halves(a, 0, 1, floats)
        for odd in range(2):
            store(floats, odd, 0, half_as_floats(words, odd, offset, floats))
        zero = splat_like(0.0, floats)
        lower, upper = half_as_floats(words, 0, 0, floats) - zero, half_as_floats(words, 1, 0, floats) - zero
        store(joined, 0, 0, joined_halves(as_i32(lower), as_i32(upper), joined))

    largest, lanes = int(np.iinfo(kind).max), 16 if single else 8
    a = np.random.default_rng(1).integers(0, largest, (1, 1 + 2 * lanes), endpoint=True).astype(kind)
    a[0, 1:5] = 0, largest, largest, 0
    for offset in (0, 100, largest):
        floats, joined = np.zeros((2, lanes), np.float32 if single else np.float64), np.zeros((1, 2 * lanes), kind)
        apart(a, offset, floats, joined)
        taken = a[0, 1:].astype(np.int64) - (offset if single else 0)
        np.testing.assert_array_equal(floats, [taken[::2], taken[1::2]])
        np.testing.assert_array_equal(joined[0], a[0, 1:])


def test_floats_become_integers_towards_zero() -> None:
    @njit
    def cut(a: Any, out: Any) -> None:
        store(out, 0, 0, as_i32(load(a, 0, 0, 8)))

    a, out = np.array([[-1.9, -0.5, 0.0, 0.999, 1.0, 2.5, 1e6 + 0.5, -7.0]]), np.zeros((1, 8), np.int32)
    cut(a, out)
    np.testing.assert_array_equal(out[0], a[0].astype(np.int32))


def test_across_lanes() -> None:
    @njit
    def across(a: Any, f: Any) -> Any:
        v = load(a, 0, 0, 16)
        mask = bits(v > splat(np.int32(2**30), 16))
        return (
            total(as_i64(v)),
            most(v),
            mask,
            count_ones(mask),
            trailing_zeros(mask),
            lane(v, 3),
            total(load(f, 0, 0, 8)),
        )

    a, f = row(np.int32), row(np.float64)
    sums, largest, mask, ones, zeros, third, floats = across(a, f)
    v = a[0, :16].astype(np.int64)
    expected = sum(1 << k for k in range(16) if v[k] > 2**30)
    assert (sums, largest, mask, third) == (v.sum(), v.max(), expected, v[3])
    assert ones == expected.bit_count()
    assert zeros == (expected & -expected).bit_length() - 1
    w = f[0]
    assert floats == ((w[0] + w[4]) + (w[2] + w[6])) + ((w[1] + w[5]) + (w[3] + w[7]))


def test_lanes_of_another_array_and_shifts() -> None:
    @njit
    def shifts(a: Any, out: Any) -> None:
        v = load_like(a, 0, 0, a) | splat_like(1, a)
        store(out, 0, 0, up_by(v, splat_like(1, a)))
        store(out, 1, 0, down_by(v, splat_like(63, a)))
        store(out, 2, 0, v ^ v)

    a, out = row(np.int64).astype(np.uint64) << np.uint64(33), np.ones((3, 8), np.uint64)
    shifts(a, out)
    v = a[0, :8] | np.uint64(1)
    np.testing.assert_array_equal(out, [v << np.uint64(1), v >> np.uint64(63), v * np.uint64(0)])


def test_products_of_neighbours_are_added_up_in_pairs() -> None:
    @njit
    def pairs(a: Any, b: Any, out: Any) -> None:
        store(out, 0, 0, pair_sums(load(a, 0, 0, 32), load(b, 0, 0, 32)))

    rng = np.random.default_rng(5)
    a, b = (rng.integers(-(1 << 15), 1 << 15, (1, 32)).astype(np.int16) for _ in range(2))
    out = np.zeros((1, 16), np.int32)
    pairs(a, b, out)
    products = a.astype(np.int64) * b
    np.testing.assert_array_equal(out, products[:, ::2] + products[:, 1::2])


@njit
def _moved(a: Any, out: Any) -> None:
    v = load(a, 0, 5, 16)
    store(out, 0, 0, moved_up(v, 1))
    store(out, 1, 0, moved_up(v, 8))
    store(out, 2, 0, last_in_all(v))


def test_numbers_move_up_and_zeros_enter() -> None:
    a, out = row(np.int32), np.zeros((3, 64), np.int32)
    _moved(a, out)
    v = a[0, 5:21]
    assert np.array_equal(out[0, :16], [0, *v[:-1]])
    assert np.array_equal(out[1, :16], [0] * 8 + list(v[:8]))
    assert np.array_equal(out[2, :16], [v[-1]] * 16)


@njit
def _every_second(a: Any, out: Any) -> None:
    one, other = load(a, 0, 5, 16), load(a, 0, 30, 16)
    store(out, 0, 0, even_lanes(one, other))
    store(out, 1, 0, odd_lanes(one, other))


def test_of_two_vectors_every_second_lane_is_taken() -> None:
    a, out = row(np.int32), np.zeros((2, 16), np.int32)
    _every_second(a, out)
    both = np.concatenate([a[0, 5:21], a[0, 30:46]])
    assert np.array_equal(out, [both[::2], both[1::2]])


@njit
def _sixteen_bits(a: Any, b: Any, out: Any) -> None:
    one, other = load(a, 0, 1, 32), load(b, 0, 2, 32)
    store(out, 0, 0, plus_at_most(one, other))
    store(out, 1, 0, upper_product(one, other))


def test_sums_stop_at_the_largest_number_and_products_keep_their_upper_half() -> None:
    rng = np.random.default_rng(7)
    a, b = (rng.integers(0, 1 << 16, (1, 64)).astype(np.uint16) for _ in range(2))
    out = np.zeros((2, 64), np.uint16)
    _sixteen_bits(a, b, out)
    one, other = a[0, 1:33].astype(np.int64), b[0, 2:34].astype(np.int64)
    np.testing.assert_array_equal(out[:, :32], [np.minimum(one + other, 65535), one * other >> 16])


@njit
def _sums_of_fours(a: Any, out: Any) -> None:
    store(out, 0, 0, sums_of_fours(load(a, 0, 3, 32)))


def test_every_four_neighbours_are_added_up() -> None:
    a = np.random.default_rng(9).integers(0, 1 << 16, (1, 64)).astype(np.uint16)
    out = np.zeros((1, 8), np.int32)
    _sums_of_fours(a, out)
    np.testing.assert_array_equal(out[0], a[0, 3:35].reshape(8, 4).sum(axis=1, dtype=np.int64))


@njit
def _fours(a: Any, out: Any) -> None:
    store(out, 0, 0, largest_of_fours(load(a, 0, 3, 32)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_of_every_four_neighbours_the_largest_is_left(dtype: Any) -> None:
    a = np.random.default_rng(8).integers(0, np.iinfo(dtype).max, (1, 64), dtype, endpoint=True)
    out = np.zeros((1, 8), dtype)
    _fours(a, out)
    np.testing.assert_array_equal(out[0], a[0, 3:35].reshape(8, 4).max(axis=1))


@njit
def _masked(a: Any, inside: Any, out: Any) -> None:
    store(out, 0, 0, as_f64(masked_sums(load(a, 0, 0, 32), load(inside, 0, 0, 32))))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_masked_numbers_are_added_up_in_pairs(dtype: Any) -> None:
    a = row(dtype)[:1, :32].copy()
    inside = -np.random.default_rng(9).integers(0, 2, (1, 32)).astype(np.int16)
    out = np.zeros((1, 16))
    _masked(a, inside, out)
    kept = np.where(inside[0] != 0, a[0].astype(np.float64) - (32768 if dtype == np.uint16 else 0), 0.0)
    sign = 1.0 if np.dtype(dtype).kind == "f" else -1.0
    np.testing.assert_array_equal(out[0], sign * (kept[::2] + kept[1::2]))


@njit
def _fused(a: Any, out: Any) -> None:
    store(out, 0, 0, plus_fused(load(a, 0, 0, 8), load(a, 0, 8, 8), load(a, 0, 16, 8)))


def test_a_fused_product_is_rounded_once() -> None:
    tiny = 2.0**-30
    a, out = np.repeat([[-1.0, 1 + tiny, 1 - tiny]], 8, axis=1), np.zeros((1, 8))
    _fused(a, out)
    assert set(out[0]) == {-(tiny**2)}
