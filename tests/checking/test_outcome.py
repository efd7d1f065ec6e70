"""How a check ends: whether it fails its test, and what becomes of its session."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vllmperf.checking.outcome import conclude
from pytest_vllmperf.records.results import Keeping
from pytest_vllmperf.records.settings import CheckSettings, Settings, Update
from pytest_vllmperf.records.verdict import Drift, MetricVerdict, Status, Verdict
from tests.checking.test_settling import METRIC, check

SETTINGS = Settings(Update.NONE, Path("baselines"), CheckSettings())
DRIFTED = MetricVerdict(
    METRIC, Status.DRIFTED, 100.0, 94.0, 0.05, -0.01, drift=Drift(-0.061, "2026-10-02T08:00:00", 14)
)


def test_a_drift_fails_its_test_and_its_session_stays_out() -> None:
    drifted = check(append=True)
    drifted.verdict = Verdict(Status.DRIFTED, (DRIFTED,))
    record, failure = conclude(drifted, SETTINGS)
    assert failure is not None
    assert failure.text.startswith("DRIFTED output throughput -6.1 % since the update of 2026-10-02, over 14")
    assert "--vllmperf-update --vllmperf-reason" in failure.text
    assert (record.keeping, record.left_out) == (Keeping.NOTHING, "it is DRIFTED")


@pytest.mark.parametrize("status", Status)
def test_which_statuses_fail(status: Status) -> None:
    ended = check()
    ended.verdict = Verdict(status)
    failing = {"REGRESSED", "DRIFTED", "NO_BASELINE", "NOT_COMPARABLE", "INVALID"}
    assert (conclude(ended, SETTINGS)[1] is not None) is (status.value in failing)
