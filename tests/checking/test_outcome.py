"""How a check ends: whether it fails its test, and what becomes of its session."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vllmperf.checking.outcome import conclude
from pytest_vllmperf.records.reference import Reference
from pytest_vllmperf.records.results import Keeping
from pytest_vllmperf.records.settings import CheckSettings, Settings, Update
from pytest_vllmperf.records.verdict import Drift, MetricVerdict, Status, Verdict
from tests.checking.test_settling import METRIC, check
from tests.profiling import FLASH, MATMUL, profiled, session, slower, table

SETTINGS = Settings(Update.NONE, Path("baselines"), CheckSettings())
DRIFTED = MetricVerdict(
    METRIC, Status.DRIFTED, 100.0, 94.0, 0.05, -0.01, drift=Drift(-0.061, "2026-10-02T08:00:00", 14)
)


def test_a_drift_fails_its_test_and_its_session_stays_out() -> None:
    drifted = check(append=True)
    drifted.verdict = Verdict(Status.DRIFTED, (DRIFTED,))
    record, failure = conclude(drifted, SETTINGS)
    assert failure is not None
    assert failure.text.startswith("DRIFTED output throughput -6.1 % since the update of 2026-10-02, margin 5 %")
    assert "--vllmperf-update --vllmperf-reason" in failure.text
    assert (record.keeping, record.left_out) == (Keeping.NOTHING, "it is DRIFTED")


@pytest.mark.parametrize("status", Status)
def test_which_statuses_fail(status: Status) -> None:
    ended = check()
    ended.verdict = Verdict(status)
    failing = {"BEYOND_LIMIT", "REGRESSED", "DRIFTED", "NO_BASELINE", "NOT_COMPARABLE", "INVALID"}
    assert (conclude(ended, SETTINGS)[1] is not None) is (status.value in failing)


def test_a_regression_says_where_its_time_went_a_passed_check_keeps_it_too() -> None:
    slow = [profiled(table(slower(FLASH, 0.0119), MATMUL)) for _ in range(3)]
    before = [session(*(profiled(table(FLASH, MATMUL)) for _ in range(3)))]
    for status, told in ((Status.REGRESSED, True), (Status.OK, False)):
        ended = check()
        ended.plan = replace(ended.plan, baseline=tuple(before))
        ended.measurement = replace(ended.measurement, engines=tuple(slow))
        ended.verdict = Verdict(status, (MetricVerdict(METRIC, status, 100.0, 80.0, 0.05, -0.2),))
        record, failure = conclude(ended, SETTINGS)
        assert record.attribution is not None
        assert [one.name for one in record.attribution.kernels] == ["flash_fwd", "nvjet_sm90 72x64"]
        assert record.attribution.interval is not None, "as it would have been judged"
        assert (failure is not None and "flash_fwd +11.9 ms (+9.4 %)" in failure.text) is told


def test_a_check_in_turns_says_where_it_differs_from_its_reference() -> None:
    new = profiled(table(slower(FLASH, 0.0119), MATMUL), gpu_idle_share=0.1)
    old = profiled(table(FLASH, MATMUL), gpu_idle_share=0.1)
    ended = check()
    reference = Reference("vLLM 0.31", "both resident", ended.measurement.environment, (old,) * 3)
    ended.measurement = replace(ended.measurement, engines=(new,) * 3, reference=reference)
    ended.verdict = Verdict(Status.REGRESSED, (MetricVerdict(METRIC, Status.REGRESSED, 100.0, 80.0, 0.05, -0.2),))
    record, failure = conclude(ended, SETTINGS)
    assert record.attribution is not None
    assert record.attribution.kernels[0].seconds.difference == pytest.approx(0.0119)
    assert failure is not None
    assert "flash_fwd +11.9 ms (+9.4 %)" in failure.text
    assert "the GPU idled 10 % of the iteration (10 % in the reference)" in failure.text


def test_what_was_not_judged_has_no_attribution() -> None:
    recorded = check()
    recorded.verdict = Verdict(Status.RECORDED)
    assert conclude(recorded, SETTINGS)[0].attribution is None
