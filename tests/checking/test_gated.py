"""How many metrics a run gates."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from pytest_vllmperf.checking.gated import GatedTest, gated_metrics
from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from pytest_vllmperf.storage.baselines import BaselineStore, Changes

SESSION = Session(
    recorded="",
    environment=Environment(hard={}, soft={}),
    engines=[EngineSamples(discarded=0, iterations=1, samples={"tpot.p50": [0.1]})],
)
ENTRY = Entry(engine="e", workload={}, judging=Judging(gate=["tpot.p50"], margin=0.05), sessions=[SESSION])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BaselineStore:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = BaselineStore(tmp_path / "baselines")
    names = ["test_a", "test_a # second", "test_b[x]", "test_gone"]
    made.write("h200", "test_one.py", Changes(dict.fromkeys(names, ENTRY)))
    made.write("h200", "test_two.py", Changes({"test_a": ENTRY}))
    made.write("a100", "test_one.py", Changes({"test_a": ENTRY}))
    return made


def test_stored_checks_of_collected_tests_count_each_with_its_gate(store: BaselineStore) -> None:
    tests = [
        GatedTest("test_one.py", "test_a", ("clock",)),  # two checks of four metrics
        GatedTest("test_one.py", "test_b[x]", ("ttft.p95", "engine_steps")),  # a counter is exact
        GatedTest("test_one.py", "test_new", ("clock",)),  # nothing to be judged by
        GatedTest("test_two.py", "test_a", ("auto",)),
    ]
    assert gated_metrics(tests, store, "h200", "cuda") == 8 + 1 + 4
    assert gated_metrics(tests, store, "h200", "cpu") == 8 + 1
    assert gated_metrics(tests, store, "a100", "cuda") == 4
    assert gated_metrics(tests, store, "other", "cuda") == 0
    assert gated_metrics([], store, "h200", "cuda") == 0
