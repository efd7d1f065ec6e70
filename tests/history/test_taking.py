"""What a history keeps of a run: every value, and why one does not count."""

from __future__ import annotations

import math

import pytest

from pytest_vllmperf.history.taking import Point, of_run, seconds
from pytest_vllmperf.records.check_report import Judged
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.verdict import Status
from tests import reporting
from tests.history.material import HARD, TEST, checked, of_test, run_on, throughput


def points(report: RunReport) -> list[tuple[str, str, float | None, str]]:
    return [(one.series.check, one.series.metric, one.value, one.left_out) for one in of_run(report).points]


def test_every_metric_of_every_check_and_measurement() -> None:
    steps = reporting.metric("engine_steps", (17.0,))
    measured = reporting.measurement(steps)
    report = run_on(1, of_test(checked(1, throughput(100.0), steps, name="a"), measurements=(measured,)))
    taken = of_run(report)
    assert [(one.series.test, one.series.check, one.series.measurement, one.series.metric) for one in taken.points] == [
        (TEST, "a", 0, "output_throughput"),
        (TEST, "a", 0, "engine_steps"),
        (TEST, "", 1, "engine_steps"),
    ]
    first = taken.points[0]
    assert (first.engines, first.time) == ((100.0, 100.1, 99.9), seconds("2026-01-02"))
    assert [one.metric.gated for one in taken.points] == [True, False, False]
    assert taken.notes == ()


@pytest.mark.parametrize("change", [{"status": Status.INVALID}, {"problems": (Problem("swapping", "it swapped"),)}])
def test_a_void_check_is_kept_and_does_not_count(change: dict[str, object]) -> None:
    report = run_on(1, of_test(checked(1, throughput(100.0), **change), checked(1, throughput(5.0), name="b")))
    assert [one[2:] for one in points(report)] == [(100.0, "void"), (5.0, "")]
    assert of_run(report).notes == (f"void, so left out of trends: {TEST}",)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_does_not_count(value: float) -> None:
    metric = throughput(1.0).model_copy(update={"value": value})
    assert points(run_on(1, of_test(checked(1, metric)))) == [("", "output_throughput", None, "not a finite number")]


def test_a_gated_metric_that_was_not_measured_is_kept() -> None:
    missing = throughput(1.0).model_copy(update={"value": None, "samples": ((),)})
    assert points(run_on(1, of_test(checked(1, missing)))) == [("", "output_throughput", None, "not measured")]


def test_what_was_judged() -> None:
    judged = Judged(status=Status.NOISY, baseline=110.0, now=100.0, change=-0.09, margin=0.05)
    report = run_on(1, of_test(checked(1, throughput(100.0, judged=judged), status=Status.NOISY)))
    (point,) = of_run(report).points
    assert (point.status, point.check_status, point.baseline, point.change) == ("NOISY", "NOISY", 110.0, -0.09)
    assert point.left_out == ""  # it is a sound measurement, whatever could be told from it


def test_what_is_missing_is_told() -> None:
    report = run_on(1, of_test(outcome="error"), of_test(checked(1, throughput(1.0)), nodeid="a.py::b"), complete=False)
    assert of_run(report).notes == ("the run is not complete: tests may be missing", f"without a measurement: {TEST}")


def test_a_test_that_a_run_has_twice_keeps_both() -> None:
    twice = of_test(checked(1, throughput(100.0)), checked(1, throughput(90.0)))
    assert [(check, value) for check, _, value, _ in points(run_on(1, twice))] == [("", 100.0), ("(2)", 90.0)]


def test_runs_differ_by_what_they_measured() -> None:
    def key(value: float, **more: object) -> str:
        return of_run(run_on(1, of_test(checked(1, throughput(value))), **more)).key

    assert key(1.0) == key(1.0)
    assert len({key(1.0), key(2.0), key(1.0, seconds=2.0), key(1.0, started="2026-01-03T00:00:00+00:00")}) == 4


def test_environments_with_the_same_content_are_the_same() -> None:
    def place(hard: dict[str, str]) -> Point:
        return of_run(run_on(1, of_test(checked(1, throughput(1.0), hard=hard)))).points[0]

    assert place(HARD).environment == place(dict(reversed(HARD.items()))).environment
    assert place(HARD).environment != place({**HARD, "model": "other"}).environment


def test_times_without_a_zone_are_utc() -> None:
    assert seconds("2026-01-01T00:00:00") == seconds("2026-01-01T00:00:00Z") == seconds("2026-01-01T01:00:00+01:00")
    with pytest.raises(ValueError, match="yesterday"):
        seconds("yesterday")
