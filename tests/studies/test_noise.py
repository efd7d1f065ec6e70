"""How far do equal engines lie apart, and from which slowdown on does the gate see it?

Recorded on many engines (`--vllmperf-update --vllmperf-engines 20`), the baseline is an A/A campaign. With
`VLLMPERF_STUDY_DELAY_US` every step of a CUDA engine takes so many microseconds longer: a slowdown of known size.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_vllmperf.harness.fixture import VllmPerf

from .conftest import Study

pytestmark = pytest.mark.recorded

DELAY = os.environ.get("VLLMPERF_STUDY_DELAY_US", "")


@pytest.mark.vllmperf(unsupported="skip", iterations=10)
@pytest.mark.parametrize("quantization", ["awq", "none"])
def test_decode(vllmperf: VllmPerf, study: Study, quantization: str) -> None:
    arguments = study.vllm(quantization, "float16")
    if DELAY:
        folders = [str(Path(__file__).parent / "slow"), *filter(None, [os.environ.get("PYTHONPATH")])]
        arguments["env"] = {"PYTHONPATH": os.pathsep.join(folders), "STUDY_STEP_DELAY_US": DELAY}
    vllmperf.check(vllmperf.measure(study.batch(), engine=vllmperf.engine(**arguments)))
