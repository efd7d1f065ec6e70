"""The limits of simulated engines: what each try was, what others keep, and what is refused before a start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_vllmperf.errors import ModelError, SpecError
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.models.shapes import Shape, config
from pytest_vllmperf.records.fit import Try
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.sweep import fitting
from pytest_vllmperf.sweep.bounds import Bounds
from pytest_vllmperf.sweep.fitting import NothingFitsError, fit

MIB, GIB = 2**20, 2**30
LONG = {"max_model_len": (128, 8192)}


def simulated(**arguments: Any) -> EngineSpec:
    return EngineSpec.create("sim", backend="simulated", **{"max_num_seqs": 4, **arguments})


def test_the_longest_that_a_given_cache_holds(lab: Lab) -> None:
    told: list[Try] = []
    found = fit(lab, simulated(kv_cache_memory_bytes=4_000_000), Bounds(**LONG), told=told.append)
    assert (found.kv_cache_memory_bytes, found.gpu_memory_utilization) == (4_000_000, None)
    assert found.max_model_len == 3840  # 3,906 tokens, a KiB each; 3,968 is the next of the grid
    outcomes = {(one.max_model_len, one.outcome) for one in found.tries}
    assert {(3840, "works"), (3968, "too little")} <= outcomes
    assert tuple(told) == found.tries
    refused = next(one for one in found.tries if one.max_model_len == 3968)
    assert refused.reason.startswith("one request of 3968 tokens needs")
    assert found.spec == simulated(kv_cache_memory_bytes=4_000_000, max_model_len=3840)


def test_the_largest_cache_for_a_given_length_with_an_engine_that_is_killed(lab: Lab) -> None:
    spec = simulated(max_model_len=4096, memory_bytes=100 * MIB, others_bytes=30 * MIB, weight_bytes=2 * MIB)
    found = fit(lab, spec, Bounds(kv_cache_memory_bytes=(MIB, 90 * MIB)))
    assert (found.kv_cache_memory_bytes, found.max_model_len) == (64 * MIB, 4096)
    above = [one for one in found.tries if one.kv_cache_memory_bytes == 80 * MIB]
    assert [one.outcome for one in above] == ["failed", "failed"]
    assert above[0].reason == "sim: the engine process was ended by SIGKILL during run"
    assert [one.outcome for one in found.tries if one.kv_cache_memory_bytes == MIB] == ["too little"]


def test_both_are_found_one_after_the_other(lab: Lab) -> None:
    spec = simulated(memory_bytes=100 * MIB, weight_bytes=2 * MIB)
    found = fit(lab, spec, Bounds(kv_cache_memory_bytes=(MIB, 6 * MIB), **LONG))
    assert (found.kv_cache_memory_bytes, found.max_model_len) == (6 * MIB, 6144)


def test_every_try_is_a_fresh_engine_that_is_filled(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_vllmperf.engines import simulated as module

    sent: list[tuple[object, int, list[int]]] = []
    run = module.SimulatedEngine.run

    def watched(self: module.SimulatedEngine, requests: Any, sampling: Any) -> Any:
        sizes = [len(one.prompt_token_ids) + one.output_tokens for one in requests]
        sent.append((self, self.facts.max_model_len, sizes))
        return run(self, requests, sampling)

    monkeypatch.setattr(module.SimulatedEngine, "run", watched)
    fit(lab, simulated(kv_cache_memory_bytes=2 * MIB, max_num_seqs=5), Bounds(max_model_len=(512, 1024)))
    assert len({id(engine) for engine, _, _ in sent}) == len(sent) > 1
    assert lab.slots.running == ()
    for _, length, sizes in sent:
        assert len(sizes) == 5
        assert sizes.count(length) == min(5, 2048 // length + 1)  # all that the cache holds, and one more


def test_requests_that_are_cut_short_are_a_failure(lab: Lab) -> None:
    with pytest.raises(NothingFitsError) as caught:
        fit(lab, simulated(kv_cache_memory_bytes=4 * MIB, fail="short"), Bounds(max_model_len=(128, 256)))
    assert "4 of 4 requests were not served: request 0 ended with 'length', after 15 tokens" in str(caught.value)
    assert [one.outcome for one in caught.value.tries] == ["failed"] * 4


def test_nothing_works_and_the_last_reason_is_told(lab: Lab) -> None:
    with pytest.raises(NothingFitsError) as caught:
        fit(lab, simulated(fail="load", kv_cache_memory_bytes=4 * MIB), Bounds(**LONG))
    assert str(caught.value) == "sim: nothing works with max_model_len 128 to 8192; the last reason: scripted failure"


def test_on_a_gpu_others_keep_what_they_use_and_what_stays_free(card: Callable[[int], Lab]) -> None:
    lab = card(2 * GIB)
    spec = simulated(max_model_len=4096, memory_bytes=8 * GIB, others_bytes=GIB)
    found = fit(lab, spec, Bounds(leave_mib=1024))
    assert found.gpu_memory_utilization == 0.62  # 5 GiB of 8 are free for the engine: 62.5 %
    first = found.tries[0]
    assert (first.gpu_memory_utilization, first.outcome, first.seconds) == (0.63, "not tried", 0.0)
    assert "less than the 1,024 MiB that stay free; 6,144 MiB are free now" in first.reason
    assert all(one.gpu_memory_utilization <= 0.62 for one in found.tries[1:] if one.gpu_memory_utilization)
    assert found.marker == (
        '@pytest.mark.vllm("sim", backend="simulated", gpu_memory_utilization=0.62, max_model_len=4096, '
        f"max_num_seqs=4, memory_bytes={8 * GIB}, others_bytes={GIB})"
    )


def test_on_a_gpu_too_small_a_share_leads_up_and_too_large_a_one_down(card: Callable[[int], Lab]) -> None:
    """As on a laptop: too small for the model, right, and too much beside the desktop."""
    spec = simulated(max_model_len=4096, memory_bytes=8 * GIB, weight_bytes=6 * GIB, others_bytes=2 * GIB - 300 * MIB)
    found = fit(card(0), spec, Bounds())
    outcomes = {one.gpu_memory_utilization: one.outcome for one in found.tries}
    assert found.gpu_memory_utilization == 0.78
    assert (outcomes[0.79], outcomes[0.01]) == ("failed", "too little")


def test_a_card_that_is_full_is_told_before_anything_starts(card: Callable[[int], Lab]) -> None:
    with pytest.raises(SpecError, match=r"nothing is started at gpu_memory_utilization=0.5: .* 1,024 MiB are free now"):
        fit(card(7 * GIB), simulated(), Bounds(gpu_memory_utilization=(0.5, 0.9)))


def test_an_engine_that_took_the_others_memory_has_failed(
    card: Callable[[int], Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, look = card(0), fitting.room.look
    seen = [look(lab.target(simulated(), None), 512 * MIB)]
    assert seen[0] is not None
    low = fitting.Room(seen[0].where, seen[0].total_bytes, 100 * MIB, 512 * MIB)
    monkeypatch.setattr(fitting.room, "look", lambda target, leave: seen.pop() if seen else low)
    with pytest.raises(NothingFitsError, match="100 MiB of NVIDIA GeForce RTX 4060 stayed free for others"):
        fit(lab, simulated(memory_bytes=8 * GIB, max_model_len=4096), Bounds())


def test_a_model_that_is_larger_than_the_card(card: Callable[[int], Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    lab = card(GIB)
    lab.weight_bytes = lambda targets: {"sim": 16 * GIB}
    monkeypatch.setattr(fitting, "configuration", lambda model, env: config(Shape(), "float32"))
    with pytest.raises(SpecError) as caught:
        fit(lab, simulated(), Bounds())
    assert str(caught.value) == (
        "sim is larger than the memory that may be taken: its weights are 16,384 MiB, and 6,656 MiB of the 8,192 MiB "
        "of NVIDIA GeForce RTX 4060 may be taken; the least that would fit is 16,896 MiB free "
        "(weights, the KV cache of one request, and what stays free for others)"
    )


def test_a_model_that_is_nowhere(lab: Lab) -> None:
    with pytest.raises(ModelError, match=r"the model path \./nowhere does not exist"):
        fit(lab, EngineSpec.create("./nowhere"), Bounds())


@pytest.mark.parametrize("backend", ["transformers", "endpoint"])
def test_a_backend_that_takes_no_such_arguments(lab: Lab, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting.models, "check_location", lambda *_: None)
    own = {"url": "http://127.0.0.1:1/v1"} if backend == "endpoint" else {}
    with pytest.raises(SpecError, match="has no argument that says how much memory it takes"):
        fit(lab, EngineSpec.create("sim", backend=backend, **own), Bounds())
