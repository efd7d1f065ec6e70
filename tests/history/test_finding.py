"""Trends: what is compared with what, where the level changed, and what is said of what is not there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pytest_vllmperf.errors import HistoryError, SpecError
from pytest_vllmperf.history.choosing import Choice
from pytest_vllmperf.history.finding import Rule
from pytest_vllmperf.records.check_report import MetricReport
from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.verdict import Status
from tests import reporting
from tests.history.conftest import Add, Found
from tests.history.material import HARD, SOFT, TEST, checked, of_test, run_on, story, throughput

STEADY = [float(value) for value in 1000 * np.exp(np.random.default_rng(3).normal(0, 0.003, 40))]
SLOWER = [value * (0.93 if day >= 25 else 1.0) for day, value in enumerate(STEADY)]
NEWER = {**SOFT, "version of vllm": "0.33.0"}
OTHER_WORK = {**HARD, "workload": "bbbb"}
LONG = "tests/test_long.py::test_long"


def steps(value: float) -> MetricReport:
    return reporting.metric("engine_steps", (value,), gated=True)


def test_a_change_with_what_came_with_it(add_runs: Add, found: Found) -> None:
    add_runs(story(SLOWER, change_at=25, soft=NEWER))
    (trend,) = found().trends
    (shift,) = trend.shifts
    assert (shift.at, shift.worse) == (25, True)
    assert shift.change == pytest.approx(-0.07, abs=0.005)
    assert (shift.last_before.commit, shift.first_after.commit) == (f"{24:040x}", f"{25:040x}")
    assert shift.changed == ("vLLM 0.32.0 -> 0.33.0",)
    assert shift.unchanged == ("driver 580.95",)


@pytest.mark.parametrize(("day", "nearby"), [
    (23, "vLLM 0.32.0 -> 0.33.0 2 runs before this change"),
    (24, "vLLM 0.32.0 -> 0.33.0 1 run before this change"),
    (25, ""),
    (26, "vLLM 0.32.0 -> 0.33.0 1 run after this change"),
    (28, ""),
])  # fmt: skip
def test_a_difference_next_to_a_change_is_told(add_runs: Add, found: Found, day: int, nearby: str) -> None:
    add_runs(story(SLOWER, change_at=day, soft=NEWER))
    (shift,) = found().trends[0].shifts
    assert (shift.at, shift.nearby) == (25, nearby)
    assert bool(shift.changed) == (day == 25)


def test_what_else_the_machine_did_is_no_cause_next_to_a_change(add_runs: Add, found: Found) -> None:
    add_runs(story(SLOWER, change_at=24, soft={**SOFT, "host load": "busy"}))
    (shift,) = found().trends[0].shifts
    assert (shift.changed, shift.nearby) == ((), "")


def test_the_order_in_which_runs_are_added_does_not_matter(add_runs: Add, found: Found) -> None:
    reports = story(SLOWER, change_at=25, soft=NEWER)
    add_runs([*reports[20:], *reports[:20]])
    (trend,) = found().trends
    assert [shift.at for shift in trend.shifts] == [25]


def test_which_way_is_worse_is_the_metrics_own(add_runs: Add, found: Found) -> None:
    add_runs([run_on(day, of_test(checked(day, steps(17.0 if day < 6 else 18.0)))) for day in range(12)])
    (trend,) = found().trends
    (shift,) = trend.shifts
    assert (shift.at, shift.worse, shift.before, shift.after) == (6, True, 17.0, 18.0)


def test_every_change_of_an_exact_metric_counts(add_runs: Add, found: Found) -> None:
    add_runs([run_on(day, of_test(checked(day, steps(10_000.0 + (day >= 6))))) for day in range(12)])
    assert [shift.at for shift in found(rule=Rule(min_change=0.5)).trends[0].shifts] == [6]


def test_small_changes_of_noisy_metrics_do_not(add_runs: Add, found: Found) -> None:
    add_runs(story(SLOWER))
    assert found(rule=Rule(min_change=0.2)).trends[0].shifts == ()


def test_another_workload_is_not_compared_and_said(add_runs: Add, found: Found) -> None:
    def report(day: int) -> RunReport:
        other = day >= 20
        work = {"kind": "synthetic", "count": 5 if other else 4}
        metric = throughput(STEADY[day] * (2.0 if other else 1.0))
        return run_on(day, of_test(checked(day, metric, hard=OTHER_WORK if other else HARD, workload=work)))

    add_runs([report(day) for day in range(40)])
    first, second = found().trends
    assert (first.shifts, second.shifts, len(first.values), len(second.values)) == ((), (), 20, 20)
    assert first.began is None
    assert second.began is not None
    assert second.began.changed == ("requests 4 -> 5",)
    assert (second.began.last_before.commit, second.began.first_after.commit) == (f"{19:040x}", f"{20:040x}")


def test_machines_in_turns_are_compared_each_with_itself(add_runs: Add, found: Found) -> None:
    def report(day: int) -> RunReport:
        other = day % 2 == 1
        hard = {**HARD, "gpu memory": "80 GiB" if other else "141 GiB"}
        return run_on(day, of_test(checked(day, throughput(SLOWER[day] * (0.5 if other else 1.0)), hard=hard)))

    add_runs([report(day) for day in range(40)])
    first, second = found().trends
    assert [shift.at for shift in first.shifts] == [13]
    assert [shift.at for shift in second.shifts] == [12]
    assert second.began is not None
    assert second.began.changed == ("gpu memory 141 GiB -> 80 GiB",)


def test_kinds_of_hardware_are_series_of_their_own(add_runs: Add, found: Found) -> None:
    tests = [of_test(checked(0, throughput(value), profile=name)) for value, name in ((1.0, "a"), (2.0, "b"))]
    add_runs([run_on(0, tests[0]), run_on(1, tests[1])])
    assert [trend.id.profile for trend in found().trends] == ["a", "b"]
    assert [trend.id.profile for trend in found(Choice(profile="b")).trends] == ["b"]


def test_void_values_do_not_count_and_are_counted(add_runs: Add, found: Found) -> None:
    void = [run_on(day, of_test(checked(day, throughput(1.0), status=Status.INVALID))) for day in (10.5, 11.5, 12.5)]
    add_runs([*story(STEADY), *void])
    (trend,) = found().trends
    assert (trend.shifts, len(trend.values), trend.left_out) == ((), 40, (("void", 3),))
    assert trend.missing == ""


def test_a_newest_value_that_is_void_is_told(add_runs: Add, found: Found) -> None:
    add_runs([*story(STEADY), run_on(50, of_test(checked(50, throughput(1.0), status=Status.INVALID)))])
    trends = found()
    assert trends.trends[0].missing == "void"
    assert f"void when its check was measured last: {TEST} output throughput" in trends.notes


def test_a_series_without_any_sound_value_is_still_there(add_runs: Add, found: Found) -> None:
    add_runs([run_on(0, of_test(checked(0, throughput(1.0), status=Status.INVALID)))])
    (trend,) = found().trends
    assert (trend.values, trend.left_out) == ((), (("void", 1),))


def test_a_metric_that_is_missing_in_the_newest_run_is_told(add_runs: Add, found: Found) -> None:
    both = [run_on(day, of_test(checked(day, throughput(100.0), steps(17.0)))) for day in range(5)]
    add_runs([*both, run_on(9, of_test(checked(9, steps(17.0))))])
    notes = found().notes
    assert f"not measured when its check was measured last: {TEST} output throughput" in notes


def test_a_test_that_is_missing_in_the_newest_run_is_told(add_runs: Add, found: Found) -> None:
    both = [
        run_on(day, of_test(checked(day, throughput(1.0))), of_test(checked(day, throughput(2.0)), nodeid=LONG))
        for day in range(5)
    ]
    add_runs([*both, run_on(9, of_test(checked(9, throughput(1.0))))])
    assert f"not in the newest run on h200, of 2026-01-10 00:00: {LONG}" in found().notes


def test_a_newest_run_that_measured_nothing_is_told(add_runs: Add, found: Found) -> None:
    add_runs([*story(STEADY), run_on(60, of_test(outcome="error"), complete=False)])
    notes = found().notes
    assert "the newest run, of 2026-03-02 00:00, is not complete: tests may be missing" in notes
    assert "the newest run, of 2026-03-02 00:00, has no value of any of these tests" in notes


def test_too_few_values_are_told(add_runs: Add, found: Found) -> None:
    add_runs(story([100.0, 50.0]))
    assert "1 of 1 series have fewer than 4 values, too few to find a change in noise" in found().notes


def test_changes_of_metrics_that_are_not_chosen_are_counted(add_runs: Add, found: Found) -> None:
    def metrics(day: int) -> list[MetricReport]:
        return [throughput(STEADY[day]), replace_gate(steps(17.0 if day < 6 else 19.0))]

    add_runs([run_on(day, of_test(checked(day, *metrics(day)))) for day in range(12)])
    trends = found()
    assert [trend.id.metric for trend in trends.trends] == ["output_throughput"]
    assert trends.hidden == 1
    assert found(Choice(("all",))).hidden == 0


def replace_gate(metric: MetricReport) -> MetricReport:
    return metric.model_copy(update={"gated": False})


def test_metrics_of_the_tests_own_are_shown(add_runs: Add, found: Found) -> None:
    keys = ("accepted [tokens, higher]", "accepted [share, higher]")
    own = [replace_gate(steps(3.0)).model_copy(update={"name": key, "label": "accepted"}) for key in keys]
    add_runs([run_on(0, of_test(checked(0, *own, replace_gate(steps(1.0)))))])
    assert [trend.id.metric for trend in found().trends] == list(keys)
    for words in (("accepted",), ("own",)):
        assert [trend.id.metric for trend in found(Choice(words)).trends] == list(keys)
    assert [trend.id.metric for trend in found(Choice(("engine_steps", "accepted"))).trends] == [*keys, "engine_steps"]


def test_what_is_not_there_cannot_be_chosen(add_runs: Add, found: Found) -> None:
    add_runs(story([100.0]))
    with pytest.raises(SpecError, match=r"no metric or set is called 'ttft.p5'; did you mean 'ttft.p50'\?"):
        found(Choice(("ttft.p5",)))
    for choice in (Choice(test="nothing"), Choice(profile="rtx"), Choice(("ttft.p50",))):
        with pytest.raises(HistoryError, match="has no value of what was asked for"):
            found(choice)
    assert found(replace(Choice(), test="test_chat")).trends
