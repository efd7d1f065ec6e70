"""A system prompt of 512 tokens before questions of several lengths: what the prefix cache finds, and what that saves.

512 tokens are four of the 128-token blocks of vLLM's CPU build; of 500 it could keep only 384. Published: "75 % hits
give some 4x", which is what prefill alone would gain: a quarter of the tokens is left to compute.
"""

from __future__ import annotations

import pytest

from pytest_vllmperf import Measurement, Workload
from pytest_vllmperf.harness.fixture import VllmPerf
from pytest_vllmperf.records.spec import EngineSpec

from .conftest import CLAIM, MODELS, Study, Tell, claim

SHARED = 512
SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)
LONGEST = 2040
REQUESTS = 8
LEAST_SPEEDUP = 1.5
OUTPUT = 4
"""Short answers, as prefill is what is asked about."""


def questions(share: float) -> Workload:
    """Prompts of which this share is the system prompt, one at a time: each finds the blocks of those before it."""
    tokens = min(round(SHARED / share), LONGEST) if share else SHARED
    shared = SHARED if share else 0
    work = Workload.synthetic(requests=REQUESTS, input_tokens=tokens, output_tokens=OUTPUT, shared_prefix_tokens=shared)
    return work.at(concurrency=1)


def busy(study: Study) -> Workload:
    """Prompts of which three quarters are the system prompt, several at a time, so many that prefill takes the time."""
    requests, shared, at_once = (48, 1536, 16) if study.on_gpu else (REQUESTS, SHARED, 4)
    tokens = shared * 4 // 3
    work = Workload.synthetic(requests=requests, input_tokens=tokens, output_tokens=OUTPUT, shared_prefix_tokens=shared)
    return work.at(concurrency=at_once)


def engines(vllmperf: VllmPerf, study: Study, **arguments: str) -> tuple[EngineSpec, EngineSpec]:
    """With a prefix cache, and without."""
    on, off = (vllmperf.engine(**study.light(enable_prefix_caching=cached, **arguments)) for cached in (True, False))
    return on, off


def hits(share: float) -> int:
    """All requests but the first find the system prompt."""
    return (REQUESTS - 1) * SHARED if share else 0


@pytest.mark.quick
@pytest.mark.vllmperf(iterations=3, warmup=1, device_pass="off")
def test_hits_are_what_was_sent(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    on, off = engines(vllmperf, study)
    shares = study.points(SHARES, [0.75])
    works = [questions(share) for share in shares]
    cached: list[Measurement] = [vllmperf.measure(work, engine=on) for work in works]
    plain: list[Measurement] = [vllmperf.measure(work, engine=off) for work in works]
    tell(
        f"{REQUESTS} requests, a shared prompt of {SHARED} tokens, one at a time",
        ["shared %", "prompt", "hit %", "tok/s on", "off", "ratio", "TTFT ms on", "off"],
        [
            [
                100 * share, round(a.prompt_tokens / REQUESTS), 100 * a.prefix_cache_hit_tokens / a.prompt_tokens,
                a.total_token_throughput, b.total_token_throughput,
                a.total_token_throughput / b.total_token_throughput, a.ttft.p50 * 1e3, b.ttft.p50 * 1e3,
            ]
            for share, a, b in zip(shares, cached, plain, strict=True)
        ],
    )  # fmt: skip
    assert [run.prefix_cache_hit_tokens for run in cached] == [hits(share) for share in shares]
    assert [run.prefix_cache_hit_tokens for run in plain] == [0] * len(shares)


@pytest.mark.vllmperf(iterations=4, warmup=1, device_pass="off")
def test_three_quarters_shared_are_faster(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    # On an H200 prefill of a model of 0.6B is so short that the host is what takes the time.
    large = {"model": str(MODELS / "llama-8b-awq"), "dtype": "float16"} if study.on_gpu else {}
    compared = vllmperf.compare(*engines(vllmperf, study, **large), busy(study))
    try:
        compared.assert_speedup(LEAST_SPEEDUP, "total_token_throughput")
    finally:
        tell(
            "three quarters of each prompt shared: prefix caching on over off",
            CLAIM,
            [claim("total throughput", compared, "total_token_throughput"), claim("TTFT p50", compared, "ttft.p50")],
        )
