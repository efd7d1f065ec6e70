"""Two versions of vLLM in two environments, compared in one test. nox makes the second environment.

Their caches are empty, as in a fresh container: each looks at the model's class, and may start no interpreter for it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vllmperf.comparing.comparison import EngineComparison
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.pair import Pair
from pytest_vllmperf.lab.sharing import Way, share
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload
from tests.measuring import SERVER_PROCESS, ColdCache

from .conftest import MODEL, TINY

OTHER = os.environ.get("VLLMPERF_OTHER_PYTHON", "")
WORK = Workload.synthetic(requests=8, input_tokens=32, output_tokens=16)
pytestmark = pytest.mark.skipif(not OTHER, reason="VLLMPERF_OTHER_PYTHON names no interpreter with another vLLM")


def test_two_versions_are_compared(perf: Lab, tmp_path: Path) -> None:
    caches = [ColdCache(tmp_path / name) for name in ("a", "b")]
    a, b = (EngineSpec.create(MODEL, env=cache.env, **TINY) for cache in caches)
    targets = (Target(a), Target(replace(b, python=OTHER)))
    sharing = share(targets, perf.weight_bytes(targets), None)
    pair = Pair(perf, sharing, WORK, MeasureSettings(warmup=1, iterations=2))
    compared = EngineComparison(pair, max_rounds=1, max_time=0, priors=lambda _: {})
    versions = [side.environment.soft["version of vllm"] for side in (compared.a, compared.b)]
    assert versions[0] != versions[1]
    assert compared.way == Way.RESIDENT.value
    assert 0.1 < compared.speedup().ratio < 10
    compared.assert_same_quality(tokens=8, agreement=1, logprob_difference=1e-3, top1_agreement=1)
    compared.assert_same_chat_template([[{"role": "user", "content": "hello"}]])
    for cache in caches:
        assert len(cache.classes()) == 1, "vLLM has looked, and keeps what it found where this test knows of it"
        assert cache.importers() == [SERVER_PROCESS]
