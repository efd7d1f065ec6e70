"""Reports of runs to test with: their names are as hostile as names can be, and each figure is another one."""

from __future__ import annotations

from typing import Any

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.check_report import (
    CheckReport,
    EngineStart,
    EnvironmentReport,
    Judged,
    MeasurementReport,
    MetricReport,
)
from pytest_vllmperf.records.report import Machine, RunInfo, RunReport, TestReport
from pytest_vllmperf.records.verdict import Status

HOSTILE = (
    "quote\" 'single' `tick`",
    "pipe | and \\ backslash",
    "<b>markup</b> & [link](x)",
    "line\nbreak\r\tand tab",
    "\x1b[31mred\x1b[0m",
    "::error::command ##[error]x",
    "{curly} =,# comma",
    "über \N{SNOWMAN} \u202e \N{PILE OF POO}",
    "  blanks around  ",
)
"""What a name may hold."""


def metric(name: str, *samples: tuple[float, ...], gated: bool = False, judged: Judged | None = None) -> MetricReport:
    """One metric; its value is the first sample of the first engine start."""
    declared = METRICS[name]
    return MetricReport(
        name=name,
        label=declared.label,
        unit=declared.unit.symbol,
        better=declared.better.value,
        kind=declared.kind.value,
        clock=declared.clock.value,
        gated=gated,
        value=samples[0][0] if samples and samples[0] else None,
        samples=samples,
        judged=judged,
    )


def _common(metrics: tuple[MetricReport, ...], engine: str) -> dict[str, Any]:
    starts = max([len(one.samples) for one in metrics] or [1])
    return {
        "engine": engine,
        "profile": "h100",
        "workload": {"kind": "synthetic", "count": 4},
        "measured": "2026-01-02T03:04:05+00:00",
        "environment": EnvironmentReport(hard={"model": "m"}, soft={"driver": "1"}),
        "engines": tuple(EngineStart(cold_start=at == 0, discarded=2, iterations=3) for at in range(starts)),
        "metrics": {one.name: one for one in metrics},
    }


def check(*metrics: MetricReport, name: str = "", status: Status = Status.OK, engine: str = "m") -> CheckReport:
    """A check of these metrics."""
    gate = tuple(one.name for one in metrics if one.gated)
    return CheckReport(
        name=name, entry=name or "test", status=status, gate=gate, keeping="nothing", **_common(metrics, engine)
    )


def measurement(*metrics: MetricReport, engine: str = "m") -> MeasurementReport:
    """A measurement that was not checked."""
    return MeasurementReport(**_common(metrics, engine))


def one_test(nodeid: str, *checks: CheckReport, **more: Any) -> TestReport:
    """A test with these checks."""
    return TestReport(**{"nodeid": nodeid, "file": "test_a.py", "outcome": "passed", "checks": checks, **more})


def run_of(*tests: TestReport) -> RunReport:
    """A run of these tests."""
    machine = Machine(device="d", driver=None, vllm="0.32.0", python="3.11.7", pytest="9.2.0", platform="Linux x86_64")
    run = RunInfo(
        plugin="0.1.0",
        started="2026-01-02T03:04:05+00:00",
        seconds=1.5,
        outcome="passed",
        exit_status=0,
        complete=True,
        mode="judge",
        machine=machine,
        options={},
    )
    return RunReport(run=run, tests=tests)


def hostile_run() -> RunReport:
    """A run with two checks for each hostile name, in the test's name, the check's and the engine's; no two alike."""
    tests = []
    for number, name in enumerate(HOSTILE, 1):
        own = [
            check(
                metric("ttft.p50", (number + 0.125, number + 0.25), (number + 0.5,), gated=True),
                metric("output_throughput", (number * 100.0,), (number * 101.0,), gated=True),
                name=f"{name} {which}",
                engine=name,
                status=Status.REGRESSED if which == 2 else Status.OK,
            )
            for which in (1, 2)
        ]
        tests.append(one_test(f"test_a.py::test[{name}]", *own))
    return run_of(*tests)
