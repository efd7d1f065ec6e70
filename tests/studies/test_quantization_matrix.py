"""How much faster and smaller is a model in each quantization than as it is, and than in plain transformers?"""

from __future__ import annotations

import pytest

from pytest_vllmperf.harness.fixture import VllmPerf

from .conftest import Study

pytestmark = pytest.mark.recorded


@pytest.mark.scorecard("quantization", baseline="full")
@pytest.mark.vllmperf(unsupported="skip")
@pytest.mark.parametrize(
    ("quantization", "dtype"),
    [
        pytest.param("none", None, id="full"),
        pytest.param("none", "bfloat16", id="bf16"),
        pytest.param("awq", "float16", id="awq"),
        pytest.param("gptq", "float16", id="gptq"),
        pytest.param("w4a16", "float16", id="w4a16"),
        pytest.param("nf4", "float16", id="nf4"),
        pytest.param("int8", "bfloat16", id="int8"),
        pytest.param("fp8", "bfloat16", id="fp8"),
    ],
)
def test_vllm(vllmperf: VllmPerf, study: Study, quantization: str, dtype: str | None) -> None:
    engine = vllmperf.engine(**study.vllm(quantization, dtype or study.plain))
    vllmperf.check(vllmperf.measure(study.batch(), engine=engine))


@pytest.mark.scorecard("quantization", baseline="full")
@pytest.mark.vllmperf(unsupported="skip")
@pytest.mark.parametrize(
    "quantization", [pytest.param(None, id="transformers"), pytest.param("bitsandbytes-nf4", id="transformers-nf4")]
)
def test_transformers(vllmperf: VllmPerf, study: Study, quantization: str | None) -> None:
    engine = vllmperf.engine(**study.reference(quantization, study.plain, batch_size=7))
    vllmperf.check(vllmperf.measure(study.batch(), engine=engine))
