"""What a try makes of an engine's words, and what its load is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.records.engine import EngineFacts
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.sweep.tries import in_a_line, stress

REFUSED = (
    "vLLM refused vllmperf:tiny: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` "
    "when initializing the engine. See https://docs.vllm.ai/x/ for more details."
)


def facts(**changes: object) -> EngineFacts:
    return replace(SimulatedEngine(EngineSpec.create("sim", backend="simulated")).facts, **changes)  # type: ignore[arg-type]


def test_the_engines_own_words_are_kept_without_its_advice() -> None:
    assert in_a_line(REFUSED) == "No available memory for the cache blocks."
    assert in_a_line("one\ntwo; in a test: @pytest.mark.vllm(...)") == "one two"
    assert len(in_a_line("x" * 1000)) == 240


def test_the_load_has_as_many_requests_as_the_engine_takes() -> None:
    requests = stress(facts(max_model_len=512, kv_cache_tokens=1024, resolved={"max_num_seqs": 8}), None)
    assert [one.index for one in requests] == list(range(8))
    lengths = [len(one.prompt_token_ids or ()) + one.output_tokens for one in requests]
    assert lengths == [512] * 3 + [16] * 5


@pytest.mark.parametrize(("told", "given", "count"), [({}, 7, 7), ({}, None, 256), ({"max_num_seqs": 3}, 7, 3)])
def test_how_many_that_is(told: dict[str, int], given: int | None, count: int) -> None:
    assert len(stress(facts(resolved=told), given)) == count


def test_the_shortest_length_still_has_a_prompt_and_an_output() -> None:
    (request,) = stress(facts(max_model_len=2, kv_cache_tokens=8, resolved={"max_num_seqs": 1}), None)
    assert (len(request.prompt_token_ids or ()), request.output_tokens) == (1, 1)
