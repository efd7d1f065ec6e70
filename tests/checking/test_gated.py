"""How many metrics a run gates."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from pytest_vllmperf.checking.gated import GatedRun, GatedTest
from pytest_vllmperf.records.ids import CheckId, TestId
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


def run(store: BaselineStore, *tests: GatedTest) -> GatedRun:
    made = GatedRun(store)
    for test in tests:
        made.add(test)
    return made


def count(gates: GatedRun, profile: str = "h200", device: str = "cuda", test: str = "test_b[x]", own: str = "") -> int:
    """The number, as a check of one metric asks for it."""
    return gates.metrics(CheckId(TestId("test_one.py", test), own), profile, device, ("tpot.p50",))


def test_stored_checks_of_collected_tests_count_each_with_its_gate(store: BaselineStore) -> None:
    gates = run(
        store,
        GatedTest("test_one.py", "test_a", ("clock",)),  # two checks of four metrics
        GatedTest("test_one.py", "test_b[x]", ("ttft.p95", "engine_steps")),  # a counter is exact
        GatedTest("test_one.py", "test_new", ("clock",)),  # nothing to be judged by
        GatedTest("test_two.py", "test_a", ("auto",)),
    )
    assert count(gates) == 8 + 1 + 4
    assert count(gates, device="cpu") == 8 + 1
    assert count(gates, "a100") == 4
    assert count(gates, "other") == 0
    assert count(run(store)) == 0


def test_gpu_time_counts_where_a_baseline_gates_it(store: BaselineStore) -> None:
    gated = ENTRY.model_copy(update={"judging": Judging(gate=["tpot.p50", "gpu_time"], margin=0.05)})
    store.write("h200", "test_one.py", Changes({"test_a # second": gated}))
    assert count(run(store, GatedTest("test_one.py", "test_a", ("auto",)))) == 4 + 5
    assert count(run(store, GatedTest("test_one.py", "test_a", ("clock",)))) == 4 + 4


def test_in_turns_it_counts_on_every_gpu(store: BaselineStore) -> None:
    for device, wanted in (("cuda", 5), ("cuda, served", 5), ("simulated", 4), ("cpu", 0)):
        gates = run(store, GatedTest("test_one.py", "test_new", ("auto",), in_turns=True))
        assert count(gates, "other", device, "test_new") == wanted


def test_tests_that_are_measured_in_turns_count_without_a_baseline(store: BaselineStore) -> None:
    gates = run(
        store,
        GatedTest("test_one.py", "test_a", ("clock",), in_turns=True),  # two stored checks
        GatedTest("test_one.py", "test_new", ("clock",), in_turns=True),
        GatedTest("test_two.py", "test_other", ("clock",)),
    )
    assert count(gates) == 8 + 4
    assert count(gates, "a100") == 4 + 4
    assert count(gates, "other") == 4 + 4


def test_a_check_in_turns_that_nobody_foresaw_counts_from_then_on(store: BaselineStore) -> None:
    gates = run(
        store,
        GatedTest("test_one.py", "test_a", ("clock",), in_turns=True),
        GatedTest("test_one.py", "test_new", ("clock",), in_turns=True),
        GatedTest("test_one.py", "test_alone", ("clock",)),
    )
    assert [count(gates, test="test_new", own=own) for own in ("first", "second", "second")] == [12, 13, 13]
    assert [count(gates, test="test_a", own=own) for own in ("", "second", "third")] == [13, 13, 14]
    assert [count(gates, test="test_alone", own=own) for own in ("", "second")] == [14, 14]
