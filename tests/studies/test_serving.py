"""A model behind `vllm serve`: 50 clients at once, four fifths of the highest rate, and that rate itself.

With `VLLMPERF_STUDY_MAX_NUM_SEQS` the server takes so many requests at once: half of its clients is a slowdown of known
cause.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from pytest_vllmperf import Workload
from pytest_vllmperf.harness.fixture import VllmPerf
from pytest_vllmperf.records.spec import EngineSpec

from .conftest import Study

pytestmark = pytest.mark.recorded

LIMIT = os.environ.get("VLLMPERF_STUDY_MAX_NUM_SEQS", "")
RATE = float(os.environ.get("VLLMPERF_STUDY_RATE") or 0)
CLIENTS = 50


@pytest.fixture
def served(vllmperf: VllmPerf, study: Study) -> EngineSpec:
    arguments: dict[str, Any] = study.vllm("awq", "float16") if study.on_gpu else study.vllm("none", "float32")
    if LIMIT:
        arguments["max_num_seqs"] = int(LIMIT)
    return vllmperf.engine(**arguments, backend="serve")


def chats(study: Study) -> Workload:
    """Prompts and answers as long as a chat's; short ones on a CPU."""
    if study.on_gpu:
        return Workload.synthetic(requests=150, input_tokens=256, output_tokens=128)
    return Workload.synthetic(requests=64, input_tokens=64, output_tokens=16)


@pytest.mark.vllmperf(iterations=4, warmup=1)
def test_fifty_clients(vllmperf: VllmPerf, study: Study, served: EngineSpec) -> None:
    """A closed loop: the server is always full."""
    vllmperf.check(vllmperf.measure(chats(study).at(concurrency=CLIENTS), engine=served))


@pytest.mark.skipif(not RATE, reason="VLLMPERF_STUDY_RATE is not set: four fifths of what test_highest_rate finds")
@pytest.mark.vllmperf(iterations=4, warmup=1)
def test_four_fifths_of_the_highest_rate(vllmperf: VllmPerf, study: Study, served: EngineSpec) -> None:
    """An open loop: users come when they come."""
    run = vllmperf.measure(chats(study).at(rate=RATE), engine=served)
    run.assert_slo(ttft=1.0, tpot=0.05, goodput=0.95)
    vllmperf.check(run)


def test_highest_rate(vllmperf: VllmPerf, study: Study, served: EngineSpec) -> None:
    """The highest rate at which 95 % of users wait at most half a second, and read at 30 tokens a second."""
    run = vllmperf.find_max_rate(chats(study), ttft=0.5, tpot=1 / 30, goodput=0.95, engine=served)
    for found in run.rates:
        for tried in found.tried:
            print(f"{tried.rate:8.2f} requests/s: {tried.shares} {'piles up' if tried.saturated else ''}")  # noqa: T201
        print(f"highest: {found.rate:.2f} [{found.low:.2f}, {found.high:.2f}] requests/s")  # noqa: T201
    vllmperf.check(run)
