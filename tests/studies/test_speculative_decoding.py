"""Speculative decoding: by n-grams of what was said already, and by a draft model.

Random weights repeat themselves more than a trained model does, so the acceptance of n-grams is that of a very
repetitive text. The draft model is the model itself: all that it proposes is right, but proposing costs as much as
answering. That shows what drafts cost, and that they are counted; a small trained draft gains time.
"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vllmperf import Workload
from pytest_vllmperf.comparing.comparison import EngineComparison
from pytest_vllmperf.harness.fixture import VllmPerf
from pytest_vllmperf.models.make import resolve
from pytest_vllmperf.records.quality import Quality

from .conftest import CLAIM, Study, Tell, claim

PROPOSED = 4
NGRAM: dict[str, Any] = {
    "method": "ngram", "num_speculative_tokens": PROPOSED, "prompt_lookup_max": 4, "prompt_lookup_min": 2
}  # fmt: skip
REQUESTS = 3


@pytest.mark.quick
@pytest.mark.vllmperf(iterations=1, warmup=0, device_pass="off")
def test_drafts_are_counted(vllmperf: VllmPerf, study: Study) -> None:
    """Steps and tokens give the accepted ones: each step of a request makes one token of its own."""
    output = 128
    work = Workload.synthetic(requests=1, input_tokens=32, output_tokens=output)
    run = vllmperf.measure(work, engine=vllmperf.engine(**study.light(speculative_config=NGRAM)))
    (result,) = run.iterations[0]
    assert result.drafting is not None
    assert 0 < result.drafting.accepted <= result.drafting.proposed
    assert result.drafting.accepted >= output - run.engine_steps  # the last step may have made too many
    assert run.spec_acceptance == pytest.approx(result.drafting.accepted / result.drafting.proposed)


@pytest.mark.vllmperf(iterations=2, warmup=1, device_pass="off")
def test_ngrams_give_the_same_output_sooner(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    output = 256 if study.on_gpu else 96
    work = Workload.synthetic(requests=REQUESTS, input_tokens=32, output_tokens=output).at(concurrency=1)
    ngram = vllmperf.engine(**study.light(speculative_config=NGRAM))
    plain = vllmperf.engine(**study.light())
    compared = vllmperf.compare(ngram, plain, work)
    try:
        if not study.on_gpu:  # there a step of so small a model is short, and proposing on the host may cost more
            compared.assert_speedup(1.0)
    finally:
        quality = show(tell, f"n-grams, {PROPOSED} tokens proposed", "n-grams", compared)
    assert study.on_gpu or quality.agreement == 1  # on a GPU a batch of another size rounds otherwise
    a, b = compared.a, compared.b
    assert 0 < a.spec_acceptance <= 1
    assert 1 < a.spec_length <= 1 + PROPOSED
    assert study.are_steps(b, REQUESTS * output)
    assert a.engine_steps < b.engine_steps


@pytest.mark.vllmperf(iterations=2, warmup=1, device_pass="off", unsupported="skip")
def test_a_draft_model_that_is_always_right(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    output = 60
    model = resolve(study.light()["model"])
    draft = {"method": "draft_model", "model": model, "num_speculative_tokens": PROPOSED}
    work = Workload.synthetic(requests=REQUESTS, input_tokens=32, output_tokens=output).at(concurrency=1)
    own, plain = vllmperf.engine(**study.light(speculative_config=draft)), vllmperf.engine(**study.light())
    compared = vllmperf.compare(own, plain, work)
    quality = show(tell, f"the model as its own draft, {PROPOSED} tokens proposed", "draft model", compared)
    assert study.on_gpu or quality.agreement == 1
    assert compared.a.spec_acceptance > (0.8 if study.on_gpu else 0.95)
    assert study.are_steps(compared.b, REQUESTS * output)
    assert compared.a.engine_steps < compared.b.engine_steps / 3


def show(tell: Tell, title: str, name: str, compared: EngineComparison) -> Quality:
    a, b = compared.a, compared.b
    tell(
        title,
        ["", "tok/s", "engine steps", "accepted %", "acceptance length"],
        [
            [name, a.output_throughput, a.engine_steps, 100 * a.spec_acceptance, a.spec_length],
            ["plain", b.output_throughput, b.engine_steps, None, None],
        ],
    )
    tell(f"{name} over plain", CLAIM, [claim("throughput", compared)])
    quality = compared.measure_quality(tokens=32)
    tell(
        "how far the outputs are the same",
        ["prompts", "tokens", "greedy agreement %", "log-probability difference"],
        [[quality.prompts, quality.tokens, 100 * quality.agreement, quality.logprob_difference]],
    )
    return quality
