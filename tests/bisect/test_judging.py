"""What a run says of a version; a run that saw nothing never says good."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vllmperf.bisect.judging import Asked, judge
from pytest_vllmperf.errors import BisectError
from pytest_vllmperf.records.bisect import Followed, Judgement
from pytest_vllmperf.records.check_report import CheckReport, EnvironmentReport, Judged, MetricReport, ReferenceReport
from pytest_vllmperf.records.report import RunReport, TestReport
from pytest_vllmperf.records.verdict import Status
from tests import reporting
from tests.reporting import run_of

NAME = "vLLM 0.31.0 of /envs/0.31.0/bin/python"
HERE = EnvironmentReport(hard={}, soft={})
FOLLOWED = Followed(check="test_a", metric="tpot.p50")


def metric(name: str, status: Status, change: float | None = 0.1, *, gated: bool = True, **more: Any) -> MetricReport:
    bounds = {"low": change - 0.01, "high": change + 0.01, "confidence": 0.99} if change is not None else {}
    judged = Judged(status=status, baseline=1.0, now=1.1, change=change, margin=0.05, **{**bounds, **more})
    return reporting.metric(name, (1.1,), gated=gated, judged=judged)


def check(*metrics: MetricReport, name: str = "test_a", reference: str | None = NAME, **more: Any) -> CheckReport:
    other = None if reference is None else ReferenceReport(name=reference, way="", environment=HERE, engines=())
    given = {"status": max((one.judged.status for one in metrics if one.judged), default=Status.INVALID)}
    return CheckReport(
        engine="m",
        profile="p",
        workload={},
        measured="",
        environment=HERE,
        engines=(),
        metrics={one.name: one for one in metrics},
        name="",
        entry=name,
        gate=tuple(one.name for one in metrics),
        keeping="nothing",
        reference=other,
        **{**given, **more},
    )


def run(*checks: CheckReport, outcome: Any = "passed", message: str = "", tests: int = 1) -> RunReport:
    found = [
        TestReport(nodeid=f"test_a.py::test_{n}", file="test_a.py", outcome=outcome, message=message, checks=checks)
        for n in range(tests)
    ]
    return run_of(*found)


def asked(followed: Followed | None = None, metric: str | None = None) -> Asked:
    return Asked("test_a.py::test_a", NAME, metric, followed)


@pytest.mark.parametrize("followed", [None, FOLLOWED])
@pytest.mark.parametrize(
    ("status", "judgement"),
    [
        (Status.REGRESSED, Judgement.BAD),
        (Status.OK, Judgement.GOOD),
        (Status.IMPROVED, Judgement.GOOD),
        (Status.NOISY, Judgement.UNDECIDED),
        (Status.UNDECIDED, Judgement.UNDECIDED),
        (Status.NOT_COMPARABLE, Judgement.UNJUDGED),
        (Status.NO_BASELINE, Judgement.UNJUDGED),
        (Status.RECORDED, Judgement.UNJUDGED),
        (Status.DRIFTED, Judgement.UNJUDGED),
    ],
)
def test_each_verdict(status: Status, judgement: Judgement, followed: Followed | None) -> None:
    found = judge(run(check(metric("tpot.p50", status))), asked(followed))
    assert found.judgement is judgement
    assert bool(found.reason) == (judgement in (Judgement.UNDECIDED, Judgement.UNJUDGED))


def test_the_figures_are_those_of_the_metric() -> None:
    found = judge(run(check(metric("tpot.p50", Status.REGRESSED, 0.2))), asked())
    assert found.followed == FOLLOWED
    assert (found.before, found.now, found.change, found.margin) == (1.0, 1.1, 0.2, 0.05)
    assert (found.low, found.high, found.confidence) == (pytest.approx(0.19), pytest.approx(0.21), 0.99)


@pytest.mark.parametrize(
    ("outcome", "message", "words"),
    [
        ("passed", "", "the test passed without a check"),
        ("skipped", "no GPU", "the test was skipped without a check: no GPU"),
        ("failed", "boom\n  here", "the test failed without a check: boom here"),
        ("error", "", "the test failed without a check"),
        ("interrupted", "", "the test was interrupted without a check"),
        ("not run", "", "the test was not run without a check"),
        ("xfailed", "known", "the test failed as expected without a check: known"),
    ],
)
@pytest.mark.parametrize("followed", [None, FOLLOWED])
def test_a_test_without_a_check_says_nothing(outcome: str, message: str, words: str, followed: Followed | None) -> None:
    found = judge(run(outcome=outcome, message=message), asked(followed))
    assert (found.judgement, found.reason) == (Judgement.UNJUDGED, words)


def test_no_test_says_nothing() -> None:
    found = judge(run(tests=0), asked())
    assert found.judgement is Judgement.UNJUDGED
    assert "test_a.py::test_a is no performance test" in found.reason


def test_several_tests_are_refused() -> None:
    with pytest.raises(BisectError, match=r"selects 2 performance tests, such as test_a.py::test_0, .*; name one"):
        judge(run(tests=2), asked())


@pytest.mark.parametrize("followed", [None, FOLLOWED])
@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (None, "test_a is not measured in turns: a marker says against="),
        (f"{NAME} (the engine's own: an A/A run)", f"and not with {NAME}"),
        ("vLLM 0.30.0 of /other/bin/python", f"in turns with vLLM 0.30.0 of /other/bin/python, and not with {NAME}"),
    ],
)
def test_a_check_against_something_else_says_nothing(
    reference: str | None, words: str, followed: Followed | None
) -> None:
    found = judge(run(check(metric("tpot.p50", Status.OK), reference=reference)), asked(followed))
    assert found.judgement is Judgement.UNJUDGED
    assert words in found.reason


def test_the_largest_regression_for_its_margin_is_followed() -> None:
    rows = [
        metric("output_throughput", Status.REGRESSED, -0.1),
        metric("tpot.p50", Status.REGRESSED, 0.12),
        metric("ttft.p50", Status.OK, 0.5),
        metric("e2e.p50", Status.REGRESSED, 0.9, gated=False),
    ]
    found = judge(run(check(*rows)), asked())
    assert found.followed == FOLLOWED
    assert found.others == ("output_throughput",)


def test_an_exact_metric_is_followed_where_nothing_else_regressed() -> None:
    exact = metric("engine_steps", Status.REGRESSED, None)
    assert judge(run(check(exact, metric("tpot.p50", Status.OK))), asked()).followed == Followed(
        check="test_a", metric="engine_steps"
    )
    assert judge(run(check(exact, metric("tpot.p50", Status.REGRESSED))), asked()).followed == FOLLOWED


def test_the_metric_that_was_asked_for_is_followed() -> None:
    rows = [metric("output_throughput", Status.REGRESSED, -0.5), metric("tpot.p50", Status.OK)]
    assert judge(run(check(*rows)), asked(metric="tpot.p50")).judgement is Judgement.GOOD
    found = judge(run(check(*rows)), asked(metric="ttft.p99"))
    assert found.judgement is Judgement.UNJUDGED
    assert found.reason == (
        "ttft.p99 was not judged, as it was not measured or a marker gates others: output_throughput, tpot.p50"
    )


def test_one_metric_that_is_undecided_leaves_the_end_undecided() -> None:
    rows = [metric("output_throughput", Status.OK, 0.0), metric("tpot.p50", Status.NOISY)]
    assert judge(run(check(*rows)), asked()).judgement is Judgement.UNDECIDED


def test_another_metric_that_regressed_does_not_make_a_later_version_bad() -> None:
    rows = [metric("output_throughput", Status.REGRESSED, -0.5), metric("tpot.p50", Status.OK, 0.0)]
    found = judge(run(check(*rows)), asked(FOLLOWED))
    assert (found.judgement, found.others) == (Judgement.GOOD, ("output_throughput",))


def test_a_check_that_is_missing_later_says_nothing() -> None:
    found = judge(run(check(metric("tpot.p50", Status.OK), name="test_a:other")), asked(FOLLOWED))
    assert (found.judgement, found.reason) == (Judgement.UNJUDGED, "the test made no check test_a")


def test_a_void_measurement_is_undecided_and_another_verdict_without_metrics_says_nothing() -> None:
    void = judge(run(check(status=Status.INVALID, reasons=("throttled",))), asked(FOLLOWED))
    assert (void.judgement, void.reason) == (Judgement.UNDECIDED, "test_a is INVALID: throttled")
    other = judge(run(check(status=Status.NOT_COMPARABLE, reasons=("a CPU",))), asked(FOLLOWED))
    assert (other.judgement, other.reason) == (Judgement.UNJUDGED, "test_a is NOT_COMPARABLE: a CPU")
    first = judge(run(check(status=Status.NOT_COMPARABLE, reasons=("a CPU",))), asked())
    assert (first.judgement, first.reason) == (Judgement.UNJUDGED, "test_a is NOT_COMPARABLE: a CPU")
    ended = judge(run(check(status=Status.UNDECIDED)), asked())
    assert ended.judgement is Judgement.UNJUDGED


def test_a_limit_of_the_test_does_not_judge_a_version() -> None:
    over = check(metric("tpot.p50", Status.OK), status=Status.BEYOND_LIMIT)
    assert judge(run(over), asked()).judgement is Judgement.GOOD
    assert judge(run(over), asked(FOLLOWED)).judgement is Judgement.GOOD


def test_a_second_check_that_saw_nothing_is_no_good_end() -> None:
    sound, blind = check(metric("tpot.p50", Status.OK)), check(name="test_a:b", status=Status.NOT_COMPARABLE)
    assert judge(run(sound, blind), asked()).judgement is Judgement.UNJUDGED


def test_a_custom_metric_is_followed_by_its_plain_name() -> None:
    steps = metric("steps [ms, lower]", Status.REGRESSED)
    found = judge(run(check(steps, metric("tpot.p50", Status.REGRESSED, 0.5))), asked(metric="steps"))
    assert found.followed == Followed(check="test_a", metric="steps [ms, lower]")
    assert found.judgement is Judgement.BAD
