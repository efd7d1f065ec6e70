"""A baseline store in a folder of its own, and what it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from pytest_vllmperf.storage.baselines import BaselineStore

MODULE = "tests/test_chat.py"


@pytest.fixture
def store(tmp_path: Path) -> BaselineStore:
    return BaselineStore(tmp_path / "baselines")


def session(value: float = 1.0) -> Session:
    return Session(
        recorded="2026-01-01T00:00:00+00:00",
        environment=Environment(hard={"gpu": "H200"}, soft={"driver": "565"}),
        engines=[
            EngineSamples(
                discarded=0, iterations=2, samples={"output_throughput": [value, value + 0.5]}, once={"load_time": 2.0}
            )
        ],
    )


JUDGING = Judging(gate=["output_throughput"], margin=0.05, margins={"ttft.p50": 0.1})


def entry(value: float = 1.0, judging: Judging = JUDGING) -> Entry:
    workload = {"kind": "synthetic", "count": 4}
    return Entry(engine="llama", workload=workload, judging=judging, sessions=[session(value)])
