"""A gate of 1 % with a reference: `--vllmperf-against=PYTHON --vllmperf-margin=0.01`.

With PYTHON the same interpreter it is an A/A run. `VLLMPERF_STUDY_SLOW_PYTHON` names another interpreter whose vLLM
takes longer by a known time (see `slow`); the new engine then runs on that, and the reference on PYTHON.
"""

from __future__ import annotations

import os

import pytest

from pytest_vllmperf import Workload
from pytest_vllmperf.harness.fixture import VllmPerf

from .conftest import Study

pytestmark = pytest.mark.recorded

SLOW = os.environ.get("VLLMPERF_STUDY_SLOW_PYTHON", "")


@pytest.mark.vllmperf(unsupported="skip", iterations=6, gate="output_throughput tpot.p50")
def test_decode_in_turns(vllmperf: VllmPerf, study: Study) -> None:
    arguments = study.vllm("none", study.plain)
    if SLOW:
        arguments["python"] = SLOW
    work = Workload.synthetic(requests=64, input_tokens=64, output_tokens=128) if study.on_gpu else study.batch()
    vllmperf.check(vllmperf.measure(work, engine=vllmperf.engine(**arguments)))
