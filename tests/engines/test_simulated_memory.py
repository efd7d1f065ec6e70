"""The memory of a simulated engine."""

from __future__ import annotations

from pytest_vllmperf.engines.simulated_memory import SimulatedMemory


def test_a_share_is_of_all_memory_less_the_weights() -> None:
    assert SimulatedMemory(1000, 0, 100, 0.5, None).kv_bytes == 400
    assert SimulatedMemory(1000, 0, 100, 0.5, 7).kv_bytes == 7
    assert SimulatedMemory(1000, 0, 100, None, None).kv_bytes is None


def test_a_cache_without_room_for_one_request_is_refused() -> None:
    assert "larger than the available KV cache memory (4095)" in SimulatedMemory(0, 0, 0, None, 4095).refusal(4)
    assert SimulatedMemory(0, 0, 0, None, 4096).refusal(4) == ""
    assert SimulatedMemory(0, 0, 0, None, None).refusal(4) == ""


def test_it_is_exhausted_where_others_leave_too_little() -> None:
    assert SimulatedMemory(1000, 300, 100, None, 601).exhausted
    assert not SimulatedMemory(1000, 300, 100, None, 600).exhausted
    assert not SimulatedMemory(0, 300, 100, None, 601).exhausted
