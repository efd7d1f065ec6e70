"""What the failure of a test says, and in which order."""

from __future__ import annotations

from dataclasses import replace

from pytest_vllmperf.records.attribution import Attribution, Change
from pytest_vllmperf.records.verdict import MetricVerdict, Status, Verdict
from pytest_vllmperf.report.failed import changed_lines, failure_lines
from tests.report.test_terminal import COMMAND, DRIFTED, FASTER, SAME, SLOWER, record, summary
from tests.report.test_verdicts import NOISE

JUDGED = replace(SLOWER, low=-0.112, high=-0.061, confidence=0.99, engines=3, iterations=10, noise=NOISE)
E2E = MetricVerdict("e2e.p50", Status.REGRESSED, 0.4358, 0.5688, 0.05, 0.305, 0.241, 0.373, 0.99, 3, 10, noise=NOISE)
STEPS = MetricVerdict("engine_steps", Status.OK, 64.0, 64.0, 0.0, 0.0, engines=1)
PREEMPTIONS = MetricVerdict("preemptions", Status.OK, 0.0, 0.0, 0.0, engines=1)
PARTS = Attribution(levels={"queue.mean": Change(0.01, 0.03), "decode.mean": Change(0.4, 0.5)})


def test_what_failed_then_why_then_what_changed_then_the_others() -> None:
    verdict = Verdict(Status.REGRESSED, (SAME, JUDGED, E2E, STEPS, PREEMPTIONS), (FASTER,))
    lines = failure_lines(record(verdict, attribution=PARTS), ["driver: 1 -> 2"], COMMAND)
    assert lines == [
        "REGRESSED output throughput -8.8 % [-11.2, -6.1], margin 5 %",
        "    4,812 -> 4,391 tok/s",
        "    3 engine starts x 10 iterations against 15 in 5 sessions · 99 % CI",
        "    noise: 1.0 % between sessions, 1.4 % between engine starts",
        "mean of a request: queue 10 -> 30 ms · decode 400 -> 500 ms",
        "changed since the baseline: driver: 1 -> 2",
        "the other metrics (-v shows more):",
        "  REGRESSED  E2E latency p50  435.8 -> 568.8 ms  +30.5 % [+24.1, +37.3]",
        "  not gated  TPOT p50         20 -> 10 ms        -50.0 %",
        "1 metric OK: TTFT p50",
        "2 exact metrics unchanged: engine steps, preemptions",
    ]


def test_with_v_every_metric_has_lines_of_its_own() -> None:
    verdict = Verdict(Status.REGRESSED, (SAME, JUDGED, E2E, STEPS), (FASTER,))
    lines = failure_lines(record(verdict), [], COMMAND, every=True)
    heads = [line for line in lines if not line.startswith(" ")]
    assert [line.split(",")[0].split(" · ")[0] for line in heads] == [
        "REGRESSED output throughput -8.8 % [-11.2",
        "no change of versions",
        "REGRESSED E2E latency p50 +30.5 % [+24.1",
        "OK TTFT p50 50 -> 50 ms",
        "OK engine steps +0.0 %",
        "not gated TPOT p50 -50.0 %",
    ]


def test_several_changes_stand_below_each_other() -> None:
    assert changed_lines(["driver: 1 -> 2", "plugin: a -> b"]) == [
        "changed since the baseline:",
        "  driver: 1 -> 2",
        "  plugin: a -> b",
    ]
    assert changed_lines(["driver: 1 -> 2"], "reference") == ["reference and engine differ: driver: 1 -> 2"]
    assert changed_lines([]) == ["no change of versions, driver or engine arguments against the baseline"]


def test_a_check_of_several_is_named() -> None:
    lines = failure_lines(record(Verdict(Status.REGRESSED, (JUDGED,)), name="test_chat # long"), [], COMMAND)
    assert lines[:2] == ["check 'long':", "REGRESSED output throughput -8.8 % [-11.2, -6.1], margin 5 %"]


def test_a_drift_comes_with_the_command_that_accepts_it() -> None:
    drifted = record(Verdict(Status.DRIFTED, (SAME, DRIFTED)))
    lines = failure_lines(drifted, ["driver: 1 -> 2"], COMMAND)
    assert lines[0] == "DRIFTED output throughput -6.1 % since the update of 2026-10-02, margin 5 %"
    assert lines[-2:] == [
        "If the new level is intended, accept it with:",
        '    pytest --vllmperf-update --vllmperf-reason "..." tests/test_chat.py::test_chat',
    ]
    assert "accept it" not in "".join(failure_lines(record(Verdict(Status.REGRESSED, (SLOWER,))), [], COMMAND))
    assert sum("DRIFTED" in line for line in summary([drifted])) == 1, "the failure tells it"


def test_without_a_baseline_the_command_is_told() -> None:
    lines = failure_lines(record(Verdict(Status.NO_BASELINE)), [], COMMAND)
    assert lines == [
        "NO_BASELINE  test_chat: nothing is recorded for nvidia-h200. Record it with:",
        f"    {COMMAND}",
    ]


def test_a_long_list_of_other_hardware_is_folded() -> None:
    many = "nothing is recorded for nvidia-h200, only for nvidia-a100, nvidia-h100, 2-x-nvidia-h200"
    lines = failure_lines(record(Verdict(Status.NO_BASELINE, reasons=(many,))), [], COMMAND, width=60)
    assert max(map(len, lines[:-1])) <= 60
    assert " ".join(" ".join(lines[:-1]).split()) == f"NO_BASELINE test_chat: {many}. Record it with:"
    assert lines[-1] == f"    {COMMAND}"


def test_what_cannot_be_compared_is_recorded_again() -> None:
    verdict = Verdict(Status.NOT_COMPARABLE, reasons=("gpu: A100 -> H200", "model: a -> b"))
    assert failure_lines(record(verdict), [], COMMAND) == [
        "NOT_COMPARABLE  test_chat: gpu: A100 -> H200; model: a -> b",
        "If this is intended, record it again with:",
        "    pytest --vllmperf-update tests/test_chat.py::test_chat",
    ]


def test_a_void_measurement_says_why() -> None:
    verdict = Verdict(Status.INVALID, reasons=("a request did not finish", "another"))
    assert failure_lines(record(verdict), [], COMMAND) == ["INVALID  test_chat: a request did not finish; another"]
