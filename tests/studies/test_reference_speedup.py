"""What vLLM is worth over plain transformers: batch classification, and the same model side by side."""

from __future__ import annotations

import pytest

from pytest_vllmperf.harness.fixture import VllmPerf

from .conftest import CLAIM, Study, Tell, claim


def test_vllm_over_transformers(vllmperf: VllmPerf, study: Study) -> None:
    """The same weights in the same dtype: what scheduling and kernels do."""
    vllm = vllmperf.engine(**study.vllm("none", study.plain))
    reference = vllmperf.engine(**study.reference(None, study.plain, batch_size=8))
    compared = vllmperf.compare(vllm, reference, study.classification(), iterations=4, warmup=1)
    compared.assert_speedup(1.2 if study.on_gpu else 1.0)
    compared.assert_same_quality(tokens=8, agreement=0.8, logprob_difference=0.02)


@pytest.mark.vllmperf(unsupported="skip")
def test_classification_with_awq_over_nf4_reference(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    """The question of many a small card: bitsandbytes in a loop, or AWQ in vLLM?

    The claim is about GPUs. On a CPU a step of the tiny model costs more than its weights do: the ratio is shown only.
    """
    awq = vllmperf.engine(**study.vllm("awq", "float16"))
    nf4 = vllmperf.engine(**study.reference("bitsandbytes-nf4", "float16", batch_size=8))
    compared = vllmperf.compare(awq, nf4, study.classification(), iterations=2, warmup=1)
    tell("AWQ in vLLM over NF4 in transformers", CLAIM, [claim("throughput", compared)])
    if study.on_gpu:
        compared.assert_speedup(5)


def test_engines_render_chats_alike(vllmperf: VllmPerf, study: Study) -> None:
    """A model served with another chat template answers worse, at the same speed."""
    chats = [[{"role": "user", "content": "Positive or negative: what a day!"}]]
    engine = vllmperf.engine(**study.vllm("none", study.plain))
    vllmperf.assert_same_chat_template(f"vllmperf:{study.shape}", chats, engine=engine)
