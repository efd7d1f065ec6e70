"""Bounds that cannot be meant are refused in a line; those that can are a grid."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.sweep.bounds import BYTES, BYTES_STEP, SHARE, Bounds


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (
            {"gpu_memory_utilization": (0.9, 0.5)},
            "gpu_memory_utilization: the smallest value, 0.9, is above the largest",
        ),
        ({"gpu_memory_utilization": (0.5, 1.5)}, "1.5 is more than all of the GPU's memory"),
        ({"gpu_memory_utilization": (0, 0.5)}, "0 is not a number of at least 0.01"),
        ({"max_model_len": (128, float("nan"))}, "nan is not a whole number of at least 2"),
        ({"max_model_len": (True, 128)}, "True is not a whole number"),
        ({"max_model_len": 4096}, "max_model_len=4096 is no pair"),
        ({"kv_cache_memory_bytes": (1, 2, 3)}, "is no pair"),
        ({"leave_mib": -1}, "leave_mib=-1 is not a whole number of at least 0"),
    ],
)
def test_bounds_that_cannot_be_meant(given: dict[str, Any], named: str) -> None:
    with pytest.raises(SpecError) as caught:
        Bounds(**given)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "arguments", "size", "named"),
    [
        ({"max_model_len": (128, 512)}, {"max_model_len": 256}, SHARE, "there is nothing between its bounds"),
        ({"gpu_memory_utilization": (0.5, 0.9)}, {}, BYTES, "where kv_cache_memory_bytes is searched"),
        ({"kv_cache_memory_bytes": (1, 2)}, {}, SHARE, "where gpu_memory_utilization is searched"),
        ({}, {"max_model_len": 256, "gpu_memory_utilization": 0.5}, SHARE, "leave out what is to be found"),
        ({}, {"gpu_memory_utilization": "half"}, SHARE, "gpu_memory_utilization='half' is not a number"),
    ],
)
def test_bounds_that_the_engine_contradicts(
    given: dict[str, Any], arguments: dict[str, Any], size: str, named: str
) -> None:
    with pytest.raises(SpecError, match=named):
        Bounds(**given).check_engine(EngineSpec.create("sim", **arguments), size)


def test_a_size_of_its_own_leaves_the_length() -> None:
    Bounds(max_model_len=(128, 512)).check_engine(EngineSpec.create("sim", kv_cache_memory_bytes=2**20), SHARE)


def test_shares_are_hundredths() -> None:
    assert Bounds(gpu_memory_utilization=(0.84, 0.87)).shares() == (0.84, 0.85, 0.86, 0.87)
    assert Bounds().shares()[0] == 0.01
    assert Bounds().shares()[-1] == 0.99


def test_sizes_end_at_what_may_be_taken() -> None:
    assert Bounds().sizes(BYTES_STEP * 3 + 1) == tuple(BYTES_STEP * one for one in (1, 2, 3))
    assert Bounds(kv_cache_memory_bytes=(5, 7)).sizes(None) == (5, 7)
    with pytest.raises(SpecError, match="give bounds of kv_cache_memory_bytes"):
        Bounds().sizes(None)


def test_lengths_end_at_the_models_own() -> None:
    assert Bounds().lengths(300) == (128, 256, 300)
    assert Bounds().lengths(64) == (64,)
    assert Bounds(max_model_len=(256, 512)).lengths(300) == (256, 384, 512)
