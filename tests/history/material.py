"""Runs over time to test with: what they measured, on what, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from pytest_vllmperf.records.check_report import CheckReport, EnvironmentReport, MetricReport
from pytest_vllmperf.records.report import RunReport, TestReport
from tests import reporting

HARD = {"backend": "offline", "device": "cuda", "gpu": "NVIDIA H200", "model": "tiny", "workload": "aaaa"}
SOFT = {"driver": "580.95", "version of vllm": "0.32.0", "host load": "idle"}
WORKLOAD = {"kind": "synthetic", "count": 4}
TEST = "tests/test_chat.py::test_chat"
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def when(day: float) -> str:
    """So many days after the first one, as an ISO date and time."""
    return (BEGIN + timedelta(days=day)).isoformat(timespec="seconds")


def throughput(value: float, **more: Any) -> MetricReport:
    """The output throughput of three engine starts, in tokens a second."""
    return reporting.metric("output_throughput", (value,), (value * 1.001,), (value * 0.999,), gated=True, **more)


def checked(
    day: float,
    *metrics: MetricReport,
    hard: Mapping[str, str] = HARD,
    soft: Mapping[str, str] = SOFT,
    workload: Mapping[str, Any] = WORKLOAD,
    profile: str = "h200",
    **more: Any,
) -> CheckReport:
    """A check that was measured on a day."""
    environment = EnvironmentReport(hard=dict(hard), soft=dict(soft))
    told = {"measured": when(day), "environment": environment, "workload": dict(workload), "profile": profile}
    made = reporting.check(*metrics, **{key: value for key, value in more.items() if key in ("name", "status")})
    rest = {key: value for key, value in more.items() if key not in ("name", "status")}
    return made.model_copy(update={**told, **rest})


def run_on(day: float, *tests: TestReport, **more: Any) -> RunReport:
    """A run on a day; `more` are fields of its `RunInfo`."""
    made = reporting.run_of(*tests)
    told = {"started": when(day), "commit": f"{int(day):040x}", "dirty": False, **more}
    return made.model_copy(update={"run": made.run.model_copy(update=told)})


def of_test(*checks: CheckReport, nodeid: str = TEST, **more: Any) -> TestReport:
    """A test with checks."""
    return reporting.one_test(nodeid, *checks, **more)


def story(values: Sequence[float], *, change_at: int | None = None, soft: Mapping[str, str] = SOFT) -> list[RunReport]:
    """A run a day with one throughput each; from `change_at` on its environment has other soft keys."""
    return [
        run_on(
            day,
            of_test(checked(day, throughput(value), soft=soft if change_at is not None and day >= change_at else SOFT)),
        )
        for day, value in enumerate(values)
    ]
