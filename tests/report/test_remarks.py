"""What follows the table of a run."""

from __future__ import annotations

from dataclasses import replace

from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.verdict import MetricVerdict, Status, Verdict
from pytest_vllmperf.report import remarks, terminal
from tests.report.test_terminal import DRIFTED, FASTER, RECORDED, SAME, SESSION, record
from tests.report.test_verdicts import NOISE

UNCLEAR = MetricVerdict(
    "output_throughput", Status.NOISY, 375.9, 355.9, 0.05, -0.053, -0.128, 0.027, 0.99, 6, 10, noise=NOISE
)
HOT = [
    Problem("throttling", "the GPU slowed its clocks in iteration 2: software thermal slowdown at 91 °C"),
    Problem("clocks", "and"),
]


def test_what_cannot_be_told_from_noise_says_so_and_what_to_do() -> None:
    check = record(Verdict(Status.NOISY, (UNCLEAR, replace(UNCLEAR, metric="tpot.p50", change=0.06))))
    assert remarks.remarks([check], terminal.names([check], [], 80)) == [
        "test_chat: cannot be distinguished from noise after 6 engine starts",
        "  NOISY  output throughput  375.9 -> 355.9 tok/s  -5.3 % [-12.8, +2.7]",
        "  NOISY  TPOT p50           375.9 -> 355.9 s      +6.0 % [-12.8, +2.7]",
        "  smallest slowdown detected here: 11 %; use compare(), or add sessions",
        "      (--vllmperf-append)",
    ]


def test_what_a_check_left_open_for_another_reason_is_not_called_noise() -> None:
    """It ended with its first engine start, as another metric cannot be judged: its failure has all metrics."""
    clear = replace(UNCLEAR, status=Status.UNDECIDED, change=-0.48, low=-0.51, high=-0.45, engines=1)
    lost = MetricVerdict("tpot.p50", Status.INVALID, None, 0.02, 0.05, reason="it was measured on one side only")
    check = record(Verdict(Status.INVALID, (clear, lost)))
    assert remarks.remarks([check], terminal.names([check], [], 80)) == []


def test_what_is_better_is_to_be_recorded_if_that_is_intended() -> None:
    check = record(Verdict(Status.IMPROVED, (SAME, FASTER)))
    assert remarks.remarks([check], terminal.names([check], [], 80)) == [
        "test_chat: faster than its baseline; record it again if this is intended",
        "  IMPROVED  TPOT p50  20 -> 10 ms  -50.0 %  margin 5 %",
    ]


def test_an_engine_start_that_was_left_out_is_told() -> None:
    without = SESSION.model_copy(update={"excluded": HOT})
    checks = [record(RECORDED), record(Verdict(Status.OK, (SAME,)), session=without, name="test_" + "x" * 30)]
    lines = remarks.remarks(checks, terminal.names(checks, [], 80))
    told = " ".join(line.strip() for line in lines)
    assert told == f"test_{'x' * 30}: one engine start left out: {HOT[0]}; {HOT[1]}"  # one of them, for two reasons
    assert all(len(line) <= 80 for line in lines)


def test_a_warning_has_the_first_metric_and_how_many_more() -> None:
    noisy = record(Verdict(Status.NOISY, (SAME, UNCLEAR, replace(UNCLEAR, metric="tpot.p50"))), name="test_chat # long")
    assert remarks.warning(Status.NOISY, [record(Verdict(Status.OK, (SAME,))), noisy]) == (
        "check 'long': NOISY output throughput -5.3 % [-12.8, +2.7], margin 5 %: cannot be distinguished from noise "
        "(and 1 more metric)"
    )
    drifted = record(Verdict(Status.DRIFTED, (DRIFTED,)))
    assert remarks.warning(Status.DRIFTED, [drifted]) == (
        "DRIFTED output throughput -6.1 %, margin 5 %: got slower over several sessions"
    )
    assert remarks.warning(Status.NOISY, [drifted]) == ""


def test_a_metric_that_is_noisy_in_a_check_that_regressed_is_no_warning() -> None:
    slow = replace(UNCLEAR, metric="ttft.p50", status=Status.REGRESSED)
    assert remarks.warning(Status.NOISY, [record(Verdict(Status.REGRESSED, (slow, UNCLEAR)))]) == ""
