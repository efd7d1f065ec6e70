"""Which figures of a run another tool is given, and under which names."""

from __future__ import annotations

import math

import pytest

from pytest_vllmperf.errors import ReportError, SpecError
from pytest_vllmperf.interchange.runs.points import choose, finite
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.verdict import Status
from tests.reporting import check, hostile_run, measurement, metric, one_test, run_of

TTFT = metric("ttft.p50", (1.0, 3.0, 2.0), (5.0,), ())
STEPS = metric("engine_steps", (7.0,), (7.0,), (7.0,), gated=True)
LOAD = metric("load_time", (9.0,), (9.0,), (9.0,))


def names(report: RunReport, *words: str) -> list[tuple[str, str]]:
    return [(point.subject, point.metric.name) for point in choose(report, words).points]


def test_what_decides_and_the_clock_unless_said_otherwise() -> None:
    report = run_of(one_test("t.py::a", check(TTFT, STEPS, LOAD)))
    assert [point.metric.name for point in choose(report).points] == ["ttft.p50", "engine_steps"]
    assert names(report, "gated") == [("t.py::a", "engine_steps")]
    assert names(report, "load_time", "gated") == [("t.py::a", "engine_steps"), ("t.py::a", "load_time")]
    assert len(names(report, "all")) == 3
    assert names(report, "clock") == [("t.py::a", "ttft.p50")]


def test_a_point_has_all_samples_and_a_median_of_each_start_that_has_any() -> None:
    (point,) = choose(run_of(one_test("t.py::a", check(TTFT))), ["ttft.p50"]).points
    assert (point.samples, point.engines) == ([1.0, 3.0, 2.0, 5.0], [2.0, 5.0])


def test_a_metric_that_was_not_measured_is_no_point() -> None:
    report = run_of(one_test("t.py::a", check(metric("ttft.p50", gated=True), LOAD)))
    assert names(report, "all") == [("t.py::a", "load_time")]


def test_every_subject_has_a_name_of_its_own() -> None:
    one = one_test(
        "t.py::a",
        check(LOAD),
        check(LOAD, name="own"),
        check(LOAD, name="measurement 1"),
        check(LOAD, name="x\n"),
        check(LOAD, name="x\\n"),
        measurements=(measurement(LOAD), measurement(LOAD)),
    )
    assert [name for name, _ in names(run_of(one), "load_time")] == [
        "t.py::a",
        "t.py::a # own",
        "t.py::a # measurement 1",
        "t.py::a # x\\n",
        "t.py::a # x\\n (2)",
        "t.py::a # measurement 1 (2)",
        "t.py::a # measurement 2",
    ]


def test_hostile_names_are_one_line_of_printable_signs_and_all_differ() -> None:
    found = choose(hostile_run(), ["ttft.p50"]).points
    assert all(point.subject.isprintable() for point in found)
    assert len({point.subject for point in found}) == len(found) == 18


def test_void_measurements_are_left_out_and_named() -> None:
    void = measurement(LOAD).model_copy(update={"problems": (Problem("client", "lag"),)})
    first = one_test("t.py::a", check(LOAD, status=Status.INVALID), measurements=(void,))
    report = run_of(first, one_test("t.py::b", check(LOAD, status=Status.REGRESSED)), one_test("t.py::c\n"))
    chosen = choose(report, ["load_time"])
    assert [point.subject for point in chosen.points] == ["t.py::b"]
    assert chosen.notes == ("left out, as void: t.py::a, t.py::a # measurement 1", "without a measurement: t.py::c\\n")


def test_a_run_that_is_not_complete_says_so() -> None:
    report = run_of(one_test("t.py::a", check(LOAD)))
    cut = report.model_copy(update={"run": report.run.model_copy(update={"complete": False})})
    assert choose(report, ["all"]).notes == ()
    assert choose(cut, ["all"]).notes == ("the run is not complete: tests may be missing",)


def test_one_subject_alone() -> None:
    report = run_of(one_test("t.py::a", check(LOAD, name="x"), check(LOAD, name="y")))
    assert [point.subject for point in choose(report, ["all"], "t.py::a # y").points] == ["t.py::a # y"]
    with pytest.raises(SpecError, match=r"the run has no check 't\.py::a # z'; did you mean 't\.py::a # [xy]'\?"):
        choose(report, ["all"], "t.py::a # z")


def test_what_leaves_nothing_is_refused() -> None:
    with pytest.raises(ReportError, match=r"nothing to export: no sound measurement of the run has any of: ttft\.p50"):
        choose(run_of(one_test("t.py::a", check(LOAD))), ["ttft.p50"])
    with pytest.raises(ReportError, match="nothing to export"):
        choose(run_of())
    with pytest.raises(SpecError, match=r"no metric or set is called 'ttft\.p51'; did you mean 'ttft\.p50'"):
        choose(run_of(), ["ttft.p51"])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_json_does_not_have_is_refused(value: float) -> None:
    report = run_of(one_test("t.py::a", check(metric("ttft.p50", (1.0,), (value,)))))
    with pytest.raises(ReportError, match=r"t\.py::a: ttft\.p50 has a sample that is not a finite number, which X"):
        finite(choose(report).points, "X")
