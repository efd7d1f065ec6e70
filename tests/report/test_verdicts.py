"""Verdicts in words, at 80 columns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_vllmperf.records.verdict import Drift, MetricVerdict, Noise, Outlook, Status
from pytest_vllmperf.report import verdicts
from pytest_vllmperf.stats import Direction
from pytest_vllmperf.stats.prior import WALL_CLOCK
from pytest_vllmperf.verdict import Claim, ClaimOutcome, Comparison
from pytest_vllmperf.verdict.comparison import VAGUE

NOISE = Noise(
    session_sd=0.01,
    engine_sd=0.014,
    detectable=0.11,
    testable=True,
    multimodal=False,
    sessions=5,
    engines=15,
    prior=WALL_CLOCK,
)
SLOWER = MetricVerdict(
    "output_throughput", Status.REGRESSED, 4812.0, 4391.0, 0.05, -0.0875, -0.112, -0.061, 0.99, 3, 10, noise=NOISE
)
TAIL = MetricVerdict("ttft.p95", Status.NOISY, 0.5, 0.5305, 0.1, 0.061, -0.03, 0.161, 0.99, 6, 10, noise=NOISE)
COUNTER = MetricVerdict("engine_steps", Status.REGRESSED, 64.0, 256.0, 0.0, 3.0, engines=2, iterations=5)


def line_of(judged: MetricVerdict, **more: Any) -> str:
    """All of a metric on one line."""
    (line,) = verdicts.metric_lines(judged, width=10_000, **more)
    return line


def test_a_regression_in_one_line() -> None:
    assert line_of(SLOWER) == (
        "REGRESSED output throughput -8.8 % [-11.2, -6.1], margin 5 % · 4,812 -> 4,391 tok/s · "
        "3 engine starts x 10 iterations against 15 in 5 sessions · 99 % CI · "
        "noise: 1.0 % between sessions, 1.4 % between engine starts"
    )


def test_what_cannot_be_told_says_what_could_be_and_what_to_do() -> None:
    assert line_of(TAIL, requests=500) == (
        "NOISY TTFT p95 +6.1 % [-3.0, +16.1], margin 10 % · 500 -> 530.5 ms · 99 % CI · after 6 engine starts · "
        "smallest slowdown detected: 11 % · use compare(), or send 1,000 requests"
    )
    assert line_of(replace(TAIL, metric="tpot.p50")).endswith("use compare(), or add sessions (--vllmperf-append)")


def test_a_line_is_broken_at_80_columns_between_its_parts() -> None:
    assert verdicts.metric_lines(SLOWER) == [
        "REGRESSED output throughput -8.8 % [-11.2, -6.1], margin 5 %",
        "    4,812 -> 4,391 tok/s",
        "    3 engine starts x 10 iterations against 15 in 5 sessions · 99 % CI",
        "    noise: 1.0 % between sessions, 1.4 % between engine starts",
    ]
    assert max(len(line) for line in verdicts.metric_lines(TAIL, requests=500)) <= 80
    assert len(verdicts.metric_lines(COUNTER)) == 1


def test_a_counter_has_no_interval() -> None:
    assert line_of(COUNTER) == "REGRESSED engine steps +300.0 %, exact · 64 -> 256 · 2 engine starts"
    assert "+300.0 %, margin 10 %" in line_of(replace(COUNTER, margin=0.1))


def test_what_does_not_decide_says_so_and_why() -> None:
    shown = line_of(replace(TAIL, reason="TTFT p95 decides from 500"), gated=False)
    assert shown.startswith("not gated TTFT p95 +6.1 % [-3.0, +16.1] · 500 -> 530.5 ms · 6 engine starts x 10")
    assert shown.endswith(" · TTFT p95 decides from 500")


def test_paired_requests_are_told() -> None:
    shown = line_of(replace(SLOWER, metric="ttft.p50", paired=True, iterations=64))
    assert " by request -8.8 % [" in shown
    assert "3 engine starts x 64 requests against 15" in shown


def test_groups_of_engines_are_told() -> None:
    assert "the stored engine starts form separate groups" in line_of(
        replace(SLOWER, noise=replace(NOISE, multimodal=True))
    )
    assert "groups" not in line_of(SLOWER)


def test_a_metric_of_one_side_says_that_it_was_not_measured() -> None:
    missing = MetricVerdict("ttft.p50", Status.INVALID, 0.05, None, 0.05, reason="it was measured on one side only")
    assert line_of(missing) == ("INVALID TTFT p50 50 ms -> not measured, margin 5 % · it was measured on one side only")


def test_one_engine_and_one_session_are_singular() -> None:
    shown = line_of(replace(SLOWER, engines=1, noise=replace(NOISE, sessions=1, engines=3)))
    assert "1 engine start x 10 iterations against 3 in 1 session ·" in shown


def test_an_outlook_names_slowdowns_and_margins_that_cannot_be_tested() -> None:
    fine = Outlook("output_throughput", 0.05, replace(NOISE, detectable=0.072))
    blind = Outlook("ttft.p95", 0.1, replace(NOISE, detectable=0.22, testable=False))
    assert verdicts.outlook_lines([("test_chat", [fine, blind]), ("test_exact", ())]) == [
        "Smallest slowdown that each baseline detects (80 % of the time):",
        "  test_chat:",
        "    output throughput 7.2 % · TTFT p95 22 % *",
        "  * noise is still larger than the margin",
    ]
    assert len(verdicts.outlook_lines([("test_chat", [fine])])) == 3
    assert verdicts.outlook_lines([("test_exact", ())]) == []
    many = verdicts.outlook_lines([("test_chat", [blind] * 9)])
    assert max(map(len, many)) <= 80


def told(outlook: list[Outlook], gated: int) -> str:
    lines = verdicts.suite_lines(outlook, gated)
    assert max(map(len, lines), default=0) <= 80
    return " ".join(line.strip() for line in lines)


def test_a_run_says_in_plain_words_what_its_baselines_can_tell() -> None:
    fine = Outlook("output_throughput", 0.05, replace(NOISE, detectable=0.081))
    young = Outlook("ttft.p50", 0.05, replace(NOISE, detectable=0.1, testable=False, sessions_to_test=4))
    younger = Outlook("ttft.p99", 0.1, replace(NOISE, detectable=0.21, testable=False, sessions_to_test=6))
    assert told([fine, young], 80) == (
        "Smallest slowdown these baselines detect (80 % of the time): 8.1 % (output throughput) to 10 % (TTFT p50). "
        "This run gates 80 metrics; the more it gates, the more evidence each needs. "
        "To test the margin of 5 % they need 4 sessions; add some with --vllmperf-append."
    )
    both = told([younger, young, fine], 2)
    assert "to 21 % (TTFT p99)." in both
    assert "To test the margin (5 % to 10 %) they need 6 sessions" in both
    assert told([fine], 1) == "Smallest slowdown these baselines detect (80 % of the time): 8.1 % (output throughput)."
    assert told([], 80) == ""


def test_a_margin_that_no_number_of_sessions_can_test_is_not_waited_for() -> None:
    never = Outlook("tpot.p50", 0.01, replace(NOISE, detectable=0.05, testable=False, sessions_to_test=None))
    assert told([never, never], 2).endswith(
        "No number of sessions is enough to test the margin of 1 % of TPOT p50: widen it (--vllmperf-margin)."
    )
    young = Outlook("ttft.p50", 0.05, replace(NOISE, detectable=0.1, testable=False, sessions_to_test=4))
    assert "To test the margin of 5 % of TTFT p50 they need 4 sessions; " in told([never, young], 2)


DRIFTED = MetricVerdict(
    "output_throughput", Status.DRIFTED, 4812.0, 4519.0, 0.05, -0.02,
    noise=NOISE, drift=Drift(-0.061, "2026-10-02T08:00:00+00:00", 14),
)  # fmt: skip


def test_a_drift_tells_of_all_sessions() -> None:
    assert line_of(DRIFTED) == (
        "DRIFTED output throughput -6.1 % since the update of 2026-10-02, margin 5 % · 4,812 -> 4,519 tok/s · "
        "over 14 sessions, none of which was a regression by itself"
    )
    assert verdicts.metric_lines(DRIFTED) == [
        "DRIFTED output throughput -6.1 % since the update of 2026-10-02, margin 5 %",
        "    4,812 -> 4,519 tok/s",
        "    over 14 sessions, none of which was a regression by itself",
    ]
    assert line_of(DRIFTED, gated=False).startswith("not gated output throughput -6.1 % since ")


FOUND = Comparison(
    "output_throughput", Direction.HIGHER, 0.0953, engine_variance=0.0001, multimodal=False, rounds=3, max_rounds=6,
    alpha=0.005, prior=VAGUE,
)  # fmt: skip

WAY = "both resident"


def test_a_claim_that_was_not_shown() -> None:
    refuted = verdicts.claim_line(FOUND, Claim(ClaimOutcome.REFUTED, 2.0, 3), 110.0, 100.0, WAY)
    assert refuted.splitlines() == [
        f"REFUTED output throughput 110 tok/s against 100 tok/s: 1.1x [{FOUND.low:.3g}, {FOUND.high:.3g}]",
        "    (99 % CI, 3 rounds) · required: at least 2x · both resident",
    ]
    unclear = verdicts.claim_line(FOUND, Claim(ClaimOutcome.INCONCLUSIVE, 1.05, 9), 110.0, 100.0, WAY)
    assert unclear.startswith("INCONCLUSIVE ")
    assert unclear.endswith("about 9 rounds would decide it (--vllmperf-max-engines)")
    never = verdicts.claim_line(
        replace(FOUND, rounds=1), Claim(ClaimOutcome.INCONCLUSIVE, 1.1, None), 110.0, 100.0, WAY
    )
    assert "(99 % CI, 1 round)" in never
    assert never.endswith("no number of rounds would decide it: the measured ratio equals the required one")


@pytest.mark.parametrize("text", ["changed: " + "word " * 30, "changed: " + "x" * 100])
def test_long_lines_are_folded_at_spaces_alone(text: str) -> None:
    lines = verdicts.folded(text)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(len(line) <= 80 or " " not in line.strip() for line in lines)
    assert verdicts.folded("changed: short") == ["changed: short"]
