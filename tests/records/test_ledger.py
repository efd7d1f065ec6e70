"""Where a device's memory went: the engine's word beside NVML's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.records.engine import EngineFacts, MemoryFacts, WeightFacts
from pytest_vllmperf.records.ledger import DeviceMemory, VramLedger

relaxed = settings(max_examples=100)

GIB = 2**30
WEIGHTS = WeightFacts({}, None, None, False, 15 * GIB, (), None)
MEMORY = MemoryFacts(peak_activation=3 * GIB, non_torch=2 * GIB, cuda_graphs=GIB, torch_reserved=120 * GIB)
FACTS = EngineFacts(
    device="cuda",
    device_name="NVIDIA H200",
    max_model_len=4096,
    vocab_size=100,
    special_token_ids=(),
    prefix_caching=True,
    load_time={},
    kv_cache_tokens=819_200,
    kv_cache_bytes=100 * GIB,
    weights=WEIGHTS,
    kv_blocks=51_200,
    max_concurrency=200.0,
    memory=MEMORY,
)
# 140 GiB, of which the engine holds 125 and somebody's desktop 1.
DEVICE = DeviceMemory(total=140 * GIB, used=126 * GIB, engine=125 * GIB, free=13 * GIB)
LEDGER = VramLedger(
    weights=15 * GIB,
    peak_activation=3 * GIB,
    non_torch=2 * GIB,
    cuda_graphs=GIB,
    kv_cache=100 * GIB,
    kv_blocks=51_200,
    kv_tokens=819_200,
    max_concurrency=200.0,
    device=DEVICE,
)


def test_a_ledger_is_what_the_engine_told_beside_what_nvml_sees() -> None:
    assert VramLedger.of(FACTS, DEVICE) == LEDGER


def test_what_was_not_told_is_unknown() -> None:
    silent = replace(
        FACTS, weights=None, memory=None, kv_cache_bytes=None, kv_blocks=None, kv_cache_tokens=None,
        max_concurrency=None,
    )  # fmt: skip
    assert VramLedger.of(silent, None) == VramLedger(None, None, None, None, None, None, None, None, None)
    little = replace(FACTS, memory=MemoryFacts(None, 2 * GIB, None, None))
    assert VramLedger.of(little, DEVICE) == replace(LEDGER, peak_activation=None, cuda_graphs=None)


def test_the_sums_by_hand() -> None:
    assert LEDGER.accounted == 121 * GIB
    assert LEDGER.difference == 4 * GIB
    assert LEDGER.others == GIB
    assert LEDGER.headroom == 13 * GIB  # 1 GiB is the driver's


def test_what_came_before_vllm_counted_is_the_engines_part_of_what_was_in_use() -> None:
    told = replace(FACTS, memory=replace(MEMORY, at_start=4 * GIB))
    ledger = VramLedger.of(told, DEVICE)
    assert ledger == replace(LEDGER, at_start=4 * GIB)
    assert ledger.before == 3 * GIB  # 1 GiB is somebody's desktop
    assert (ledger.accounted, ledger.difference) == (124 * GIB, GIB)
    assert replace(ledger, at_start=GIB // 2).before == 0  # the desktop came later
    for unknown in (replace(ledger, device=None), replace(ledger, device=replace(DEVICE, engine=None)), LEDGER):
        assert unknown.before is None
        assert unknown.accounted == 121 * GIB


def test_a_difference_may_be_negative() -> None:
    assert replace(LEDGER, device=replace(DEVICE, engine=120 * GIB)).difference == -GIB


@pytest.mark.parametrize("part", ["weights", "peak_activation", "non_torch", "cuda_graphs", "kv_cache"])
def test_a_sum_with_an_unknown_part_is_unknown(part: str) -> None:
    lacking = replace(LEDGER, **{part: None})
    assert (lacking.accounted, lacking.difference) == (None, None)
    assert (lacking.others, lacking.headroom) == (GIB, 13 * GIB)
    assert replace(LEDGER, **{part: 0}).accounted == 121 * GIB - getattr(LEDGER, part)  # nothing is something known


@pytest.mark.parametrize(
    ("device", "told"),
    [(None, (None, None, None)), (replace(DEVICE, engine=None), (None, None, 13 * GIB))],
)
def test_what_nvml_hides_is_unknown(device: DeviceMemory | None, told: tuple[Any, ...]) -> None:
    ledger = replace(LEDGER, device=device)
    assert (ledger.difference, ledger.others, ledger.headroom) == told
    assert ledger.accounted == 121 * GIB


def test_what_nvml_counts_twice_leaves_others_nothing() -> None:
    """Pages that two processes share are counted for each of them."""
    assert replace(LEDGER, device=replace(DEVICE, engine=127 * GIB)).others == 0


sizes = st.integers(0, 2**37)


@relaxed
@given(st.lists(sizes, min_size=5, max_size=5), sizes, sizes, sizes)
def test_what_is_used_is_the_engines_and_the_others(parts: list[int], engine: int, others: int, free: int) -> None:
    device = DeviceMemory(2**40, engine + others, engine, free)
    ledger = VramLedger(parts[0], parts[1], parts[2], parts[3], parts[4], None, None, None, device)
    assert (ledger.others, ledger.headroom) == (others, free)
    assert ledger.accounted is not None
    assert ledger.difference is not None
    assert ledger.accounted + ledger.difference == engine
