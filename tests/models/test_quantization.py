"""Every format: what was packed reads as the rounding of the original."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_vllmperf.models import quantization
from pytest_vllmperf.models.quantization import NF4_LEVELS, QUANTIZATIONS, affine, symmetric, to_e4m3
from tests.models.conftest import READERS, Floats, e4m3, nibble

SIZE = (256, 384)
relaxed = settings(max_examples=40)


def weights(seed: int = 0) -> Floats:
    drawn = np.random.default_rng(seed).standard_normal(SIZE, dtype=np.float32) * np.float32(0.02)
    drawn[0] = 0  # a layer may have rows of zeros
    return drawn


def groups_of(values: Floats, size: int = 128) -> Floats:
    return values.reshape(len(values), -1, size)


def rounded(name: str, original: Floats) -> Floats:
    """What each format's rounding makes of the weights, without packing anything."""
    if name == "awq":
        levels, zeros, scales = affine(original)
        steps = groups_of(levels.astype(np.float32)) - zeros.astype(np.float32)[:, :, None]
        return np.asarray((steps * scales.astype(np.float32)[:, :, None]).reshape(SIZE))
    if name in ("gptq", "w4a16"):
        levels, scales = symmetric(original)
        return np.asarray(
            ((groups_of(levels.astype(np.float32)) - 8) * scales.astype(np.float32)[:, :, None]).reshape(SIZE)
        )
    if name == "int8":
        scale = np.maximum(np.abs(original).max(axis=1, keepdims=True), 1e-30) / 127
        return np.asarray(np.rint(original / scale) * scale)
    if name == "fp8":
        blocks = original.reshape(2, 128, 3, 128)
        scale = (np.abs(blocks).max(axis=(1, 3)) / np.float32(448))[:, None, :, None]
        every = e4m3(np.array([code for code in range(256) if code & 127 != 127], dtype=np.uint8))
        ordered = np.unique(every)
        scaled = (blocks / scale).reshape(-1)
        right = np.clip(np.searchsorted(ordered, scaled), 1, len(ordered) - 1)
        nearer = np.where(scaled - ordered[right - 1] <= ordered[right] - scaled, ordered[right - 1], ordered[right])
        return np.asarray((nearer.reshape(blocks.shape) * scale).reshape(SIZE))
    blocks = original.reshape(-1, 64)
    largest = np.maximum(np.abs(blocks).max(axis=1, keepdims=True), 1e-30)
    nearest = np.abs((blocks / largest)[:, :, None] - NF4_LEVELS).argmin(axis=2)
    return np.asarray((NF4_LEVELS[nearest] * largest).reshape(SIZE))


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_what_is_read_is_the_rounding_of_the_original(name: str) -> None:
    original = weights()
    read = READERS[name](QUANTIZATIONS[name].pack(original))
    assert read.shape == SIZE
    np.testing.assert_allclose(read, rounded(name, original), rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "error"), [("awq", 0.11), ("gptq", 0.15), ("w4a16", 0.15), ("int8", 0.012), ("fp8", 0.03), ("nf4", 0.11)]
)
def test_the_rounding_stays_close_to_the_original(name: str, error: float) -> None:
    original = weights()
    read = READERS[name](QUANTIZATIONS[name].pack(original))
    relative = float(np.sqrt(((read - original) ** 2).mean() / (original**2).mean()))
    assert error / 2 < relative < error


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_what_is_packed_is_what_was_told(name: str) -> None:
    chosen = QUANTIZATIONS[name]
    made = chosen.pack(weights())
    layouts = chosen.layouts(*SIZE)
    assert list(made) == list(layouts)
    for own, layout in layouts.items():
        assert made[own].shape == layout.shape
        assert made[own].nbytes == layout.nbytes
    bits = 8 * sum(tensor.nbytes for tensor in made.values()) / weights().size
    assert (4 <= bits < 4.8) if name not in ("int8", "fp8") else (8 <= bits < 8.2)


def test_affine_levels_are_the_nearest_and_their_zero_is_exact() -> None:
    original = weights()
    levels, zeros, scales = affine(original)
    wide = np.repeat(scales.astype(np.float32), 128, axis=1)
    read = (levels.astype(np.float32) - np.repeat(zeros, 128, axis=1)) * wide
    inside = (levels > 0) & (levels < 15)
    assert np.all(np.abs(read - original)[inside] <= wide[inside] * 0.5001)
    assert np.all(read[original == 0] == 0)
    assert (levels.min(), levels.max()) == (0, 15)


def test_symmetric_levels_are_the_nearest() -> None:
    original = weights()
    levels, scales = symmetric(original)
    wide = np.repeat(scales.astype(np.float32), 128, axis=1)
    assert np.all(np.abs((levels.astype(np.float32) - 8) * wide - original) <= wide * 0.51)
    assert np.all(levels[original == 0] == 8)


@relaxed
@given(hnp.arrays(np.float32, 64, elements=st.floats(-500, 500, width=32)))
def test_fp8_codes_are_the_nearest(values: Floats) -> None:
    codes = np.array([code for code in range(256) if code & 127 != 127], dtype=np.uint8)
    found = e4m3(to_e4m3(values))
    least = np.abs(values[:, None].astype(np.float64) - e4m3(codes)).min(axis=1)
    np.testing.assert_allclose(np.abs(values.astype(np.float64) - found), least, rtol=1e-12)


def test_fp8_ties_go_to_the_even_code_and_the_end_is_the_end() -> None:
    assert to_e4m3(np.array([17.0, 19.0, -17.0], dtype=np.float32)).tolist() == [0x58, 0x5A, 0xD8]
    assert to_e4m3(np.array([448.0, 1e9, 0.0], dtype=np.float32)).tolist() == [0x7E, 0x7E, 0]


@relaxed
@given(hnp.arrays(np.uint8, (3, 16), elements=st.integers(0, 15)), st.permutations(range(8)))
def test_nibbles_lie_where_they_are_told_to(levels: np.ndarray, order: list[int]) -> None:
    packed = quantization.pack_nibbles(levels, 1, tuple(order))
    for place, element in enumerate(order):
        assert np.array_equal(nibble(packed, place), levels[:, element::8])
    down = quantization.pack_nibbles(levels.T.copy(), 0)
    for place in range(8):
        assert np.array_equal(nibble(down, place), levels[:, place::8].T)
