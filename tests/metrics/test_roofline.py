"""How close decoding came to the memory's bandwidth, against sums done by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_vllmperf.metrics.roofline import Roofline, roofline_limits
from pytest_vllmperf.records.engine import EngineFacts, WeightFacts, WeightLayers
from pytest_vllmperf.records.run import RequestRecord, RunResult

H200 = 4.9e12  # bytes/s
# Llama 3 8B in AWQ: 5.85e9 bytes of weights, of which 1.05e9 are the input embedding; 131072 bytes of KV a token.
WEIGHTS = WeightFacts({"quant_method": "awq"}, None, "awq_marlin", False, 5_850_000_000, (), None)
FACTS = EngineFacts(
    "cuda", "NVIDIA H200", 4096, 128_256, (), False, {"total": 20.0}, 1000, 131_072_000, WEIGHTS,
    expected_kv_bytes_per_token=131_072,
)  # fmt: skip
ROOFLINE = Roofline(5.85e9, 131_072, H200)


def request(index: int = 0, **changed: Any) -> RequestRecord:
    plain = RequestRecord(index, 1000, 101, 0, "length", 10.0, 10.1, 10.2, 12.0)
    return replace(plain, **changed)


def result(*requests: RequestRecord, steps: int = 101) -> RunResult:
    return RunResult(requests, (), steps, 0, 0, None, None, 2.0)


DEAD = request(1, finish_reason=None, prompt_tokens=0, output_tokens=0, queued_ts=0.0, last_token_ts=0.0)


def test_a_roofline_is_of_the_weights_that_a_step_reads() -> None:
    assert Roofline.of(FACTS, H200) == ROOFLINE
    idle = replace(FACTS, weights=replace(WEIGHTS, idle_bytes=1_050_000_000))
    assert Roofline.of(idle, 2 * H200) == Roofline(4.8e9, 131_072, 2 * H200)


def test_kv_bytes_are_what_the_engine_has_else_what_it_should_have() -> None:
    untold = replace(FACTS, kv_cache_bytes=None, expected_kv_bytes_per_token=114_688)
    assert Roofline.of(untold, H200) == replace(ROOFLINE, token_bytes=114_688)
    both = replace(FACTS, expected_kv_bytes_per_token=114_688)
    assert Roofline.of(both, H200) == ROOFLINE


@pytest.mark.parametrize(
    ("changed", "bandwidth"),
    [
        ({}, None),
        ({}, 0.0),
        ({"weights": None}, H200),
        ({"weights": replace(WEIGHTS, loaded_bytes=None)}, H200),
        ({"expected_kv_bytes_per_token": None}, H200),  # layers differ: not all read the whole context
        ({"expected_kv_bytes_per_token": None, "kv_cache_bytes": None}, H200),
    ],
)
def test_without_one_of_its_parts_there_is_no_roofline(changed: dict[str, Any], bandwidth: float | None) -> None:
    assert Roofline.of(replace(FACTS, **changed), bandwidth) is None


def with_layers(*methods: str) -> EngineFacts:
    layers = tuple(WeightLayers(method, True, 1, None, None) for method in methods)
    return replace(FACTS, weights=replace(WEIGHTS, layers=layers))


@pytest.mark.parametrize(
    "method",
    [
        "UnquantizedFusedMoEMethod",
        "Fp8MoEMethod",
        "AWQMoEMethod",
        "MoeWNA16Method",
        "FusedMoEModularMethod",
        "ModelOptNvFp4FusedMoE",
        "QuarkOCP_MX_MoEMethod (Scheme, Kernel)",
        "Mxfp4Experts",
    ],
)
def test_a_step_does_not_read_all_experts(method: str) -> None:
    assert Roofline.of(with_layers("Fp8LinearMethod", method), H200) is None


@pytest.mark.parametrize("method", ["UnquantizedLinearMethod", "AWQMarlinLinearMethod (MarlinMoEKernel)"])
def test_linear_layers_are_read_whole(method: str) -> None:
    assert Roofline.of(with_layers(method, "Fp8LinearMethod"), H200) == ROOFLINE


def test_one_request_by_hand() -> None:
    """101 steps in 2 s; the 100 after the first token read 1000 tokens of prompt and 1, 2, … 100 of their own."""
    read = 100 * 1000 + 5050
    expected = (101 * 5.85e9 + read * 131_072) / (2.0 * 4.9e12)
    assert ROOFLINE.utilization(result(request())) == pytest.approx(expected)
    assert expected == pytest.approx(0.0617, abs=1e-4)  # 0.0603 of it the weights


def test_requests_of_one_step_read_the_weights_once_and_each_its_own_cache() -> None:
    alone, two = (ROOFLINE.utilization(result(*map(request, range(count)))) for count in (1, 2))
    assert alone is not None
    assert two == pytest.approx(alone + 105_050 * 131_072 / (2 * H200))


@pytest.mark.parametrize(("prompt", "output", "read"), [(1000, 1, 0), (1000, 2, 1001), (7, 4, 7 * 3 + 1 + 2 + 3)])
def test_what_a_request_reads_of_its_cache(prompt: int, output: int, read: int) -> None:
    found = Roofline(0, 1, 1).utilization(result(request(prompt_tokens=prompt, output_tokens=output)))
    assert found == pytest.approx(read / 2)


def test_the_span_is_of_all_requests_and_the_unfinished_count_for_nothing() -> None:
    late = request(1, queued_ts=11.0, last_token_ts=14.0)
    both = Roofline(1, 0, 1).utilization(result(request(), late, steps=8))
    assert both == pytest.approx(8 / 4)
    assert ROOFLINE.utilization(result(request(), DEAD)) == ROOFLINE.utilization(result(request()))


@pytest.mark.parametrize("requests", [(), (DEAD,), (request(queued_ts=12.0),)])
def test_no_time_has_no_utilization(requests: tuple[RequestRecord, ...]) -> None:
    assert ROOFLINE.utilization(result(*requests)) is None


def test_the_limits_for_a_report() -> None:
    layers = (WeightLayers("AWQ", True, 2, 1000, None), WeightLayers("UnquantizedLinearMethod", False, 1, 24, 48))
    known = replace(FACTS, weights=replace(WEIGHTS, layers=layers))
    found = roofline_limits(known, H200, 1e15, 2)
    assert found is not None
    assert (found.memory_bandwidth, found.flops, found.weights) == (H200, 1e15, 2048)
    assert roofline_limits(known, None, 1e15, 2) is None
    for unknown in (
        replace(FACTS, weights=None),
        with_layers("AWQ"),
        replace(FACTS, weights=replace(WEIGHTS, layers=(replace(layers[0], method="Fp8MoEMethod"),))),
    ):
        limits = roofline_limits(unknown, H200, None, 1)
        assert limits is not None
        assert (limits.flops, limits.weights) == (None, None)
