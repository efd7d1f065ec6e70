"""What the baselines of a run will be able to tell."""

from __future__ import annotations

from pathlib import Path

from pytest_vllmperf.checking.outlooks import SuiteOutlook, suite_outlook
from pytest_vllmperf.records.results import CheckRecord, Keeping
from pytest_vllmperf.records.samples import Judging
from pytest_vllmperf.records.verdict import Status, Verdict
from pytest_vllmperf.storage.baselines import BaselineStore, Changes
from tests.checking.test_settling import BASELINE, METRIC


def record(name: str, *gate: str) -> CheckRecord:
    return CheckRecord(
        module="test_a.py",
        name=name,
        profile="h200",
        engine="e",
        workload={},
        session=BASELINE[0],
        judging=Judging(gate=list(gate or (METRIC,)), margin=0.05),
        verdict=Verdict(Status.RECORDED),
        keeping=Keeping.NEW,
        values={},
    )


def looked(store: BaselineStore, checks: list[CheckRecord], recorded: list[CheckRecord]) -> SuiteOutlook:
    return suite_outlook(checks, recorded, store, 6)


def test_all_gated_metrics_of_the_run_count_and_all_stored_sessions(tmp_path: Path) -> None:
    store, own = BaselineStore(tmp_path), record("test_a")
    store.write("h200", "test_a.py", Changes({"test_a": own.entry()}))
    (alone,) = looked(store, [own], [own]).checks[0][1]
    others = [record(f"test_{number}", METRIC, "tpot.p50", "engine_steps") for number in range(40)]
    among = looked(store, [own, *others], [own])
    assert among.gated == 81, "a counter takes nothing of the error budget"
    (shared,) = among.checks[0][1]
    assert shared.noise.detectable > 1.1 * alone.noise.detectable
    for session in BASELINE[1:]:
        later = own.model_copy(update={"session": session})
        store.write("h200", "test_a.py", Changes(appended={"test_a": later.entry()}))
    (grown,) = looked(store, [own], [own]).checks[0][1]
    assert (grown.noise.sessions, alone.noise.sessions) == (5, 1)
    assert grown.noise.detectable < alone.noise.detectable


def test_an_entry_that_is_gone_by_now_has_none(tmp_path: Path) -> None:
    assert looked(BaselineStore(tmp_path), [record("test_a")], [record("test_a")]) == SuiteOutlook(1, [])
