"""The table of a run's checks, whole, at 80 and 120 columns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vllmperf.records.results import CheckRecord
from pytest_vllmperf.records.samples import Environment, Judging
from pytest_vllmperf.records.verdict import LimitVerdict, MetricVerdict, Outlook, Status, Verdict
from pytest_vllmperf.report import terminal
from tests.report.test_terminal import RECORDED, SESSION, record
from tests.report.test_verdicts import NOISE

QUIET = replace(NOISE, detectable=0.029)
FINE = MetricVerdict(
    "output_throughput", Status.OK, 4812.0, 4826.0, 0.05, 0.003, -0.011, 0.017, 0.99, 1, 10, noise=QUIET
)
TTFT = MetricVerdict("ttft.p50", Status.OK, 0.05, 0.0502, 0.05, 0.004, -0.02, 0.028, 0.99, 1, 10, noise=NOISE)
SLOW = replace(FINE, status=Status.REGRESSED, now=4391.0, change=-0.0875, low=-0.112, high=-0.061)
STEPS = MetricVerdict("engine_steps", Status.OK, 64.0, 64.0, 0.0, 0.0, engines=1)
HITS = MetricVerdict("preemptions", Status.OK, 0.0, 0.0, 0.0, engines=1)
CPU = SESSION.model_copy(update={"environment": Environment(hard={"device": "cpu"}, soft={})})
LONG = "test_serving[meta-llama/Meta-Llama-3-8B-Instruct-awq-{}-batched]"
CAPTION = "detects: smallest slowdown that the baseline detects (80 % of the time)"


def table(*checks: CheckRecord, width: int = 80, every: bool = False) -> list[str]:
    lines = terminal.summary(checks, terminal.names(checks, [], width), every=every)
    assert max(map(len, lines)) <= width
    return lines


def test_green_at_80_columns_one_line_a_test() -> None:
    checks = [record(Verdict(Status.OK, (FINE, TTFT, STEPS)), name=name) for name in ("test_b", "test_a")]
    assert table(*checks) == [
        "test    verdict  output throughput  change [99 % CI]     detects",
        "test_a  OK             4,826 tok/s  +0.3 % [-1.1, +1.7]  2.9 %",
        "test_b  OK             4,826 tok/s  +0.3 % [-1.1, +1.7]  2.9 %",
        CAPTION,
        "2 other gated metrics OK, 2 exact metrics unchanged (-v shows them)",
    ]


def test_a_name_that_leaves_no_room_for_a_column_moves_it_below() -> None:
    checks = [record(Verdict(Status.OK, (FINE,)), name="test_throughput_of_chat")]
    assert table(*checks)[:2] == [
        "test                     verdict  output throughput  change [99 % CI]",
        "test_throughput_of_chat  OK             4,826 tok/s  +0.3 % [-1.1, +1.7]",
    ]
    assert table(*checks)[2] == "smallest slowdown that the baselines detect (80 % of the time): 2.9 %"


def test_long_names_are_whole_in_blocks_at_80_columns() -> None:
    checks = [record(Verdict(Status.OK, (FINE,)), name=LONG.format(number)) for number in (1, 2)]
    assert table(*checks) == [
        "test                                                             verdict",
        "  metric                     now  change [99 % CI]     detects",
        f"{LONG.format(1)}  OK",
        "  output throughput  4,826 tok/s  +0.3 % [-1.1, +1.7]  2.9 %",
        f"{LONG.format(2)}  OK",
        "  output throughput  4,826 tok/s  +0.3 % [-1.1, +1.7]  2.9 %",
        CAPTION,
    ]


def test_and_in_lines_at_120_columns() -> None:
    checks = [
        record(Verdict(Status.OK, (FINE,)), name=LONG.format(1)),
        record(Verdict(Status.REGRESSED, (SLOW,)), name=LONG.format(2)),
    ]
    assert table(*checks, width=120) == [
        f"{'test':<63}  verdict    output throughput  change [99 % CI]",
        f"{LONG.format(1)}  OK               4,826 tok/s  +0.3 % [-1.1, +1.7]",
        f"{LONG.format(2)}  REGRESSED        4,391 tok/s  -8.8 % [-11.2, -6.1]",
        "smallest slowdown that the baselines detect (80 % of the time): 2.9 %",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_names_wider_than_the_terminal_lose_their_middle_and_stay_different(width: int) -> None:
    names = [f"test_{'x' * 130}[{number}]" for number in (1, 2)]
    lines = table(*(record(Verdict(Status.OK, (FINE,)), name=name) for name in names), width=width)
    shown = [line.split()[0] for line in lines if line.endswith(" OK")]
    assert len(set(shown)) == 2
    assert all(one.startswith("test_x") and one.endswith("]") and len(one) == width - len("  verdict") for one in shown)


def test_different_metrics_have_a_column_and_the_failing_one_speaks_for_its_check() -> None:
    steps = replace(STEPS, status=Status.REGRESSED, now=256.0, change=3.0)
    checks = [
        record(Verdict(Status.OK, (FINE,)), name="test_a"),
        record(Verdict(Status.REGRESSED, (FINE, steps)), name="test_b"),
    ]
    assert table(*checks, width=100) == [
        "test    verdict    metric                     now  change [99 % CI]     detects",
        "test_a  OK         output throughput  4,826 tok/s  +0.3 % [-1.1, +1.7]  2.9 %",
        "test_b  REGRESSED  engine steps               256  +300.0 %             exact",
        CAPTION,
        "1 other gated metric OK (-v shows them)",
    ]


def test_on_a_cpu_it_says_that_the_clock_is_not_gated() -> None:
    judging = Judging(gate=["engine_steps", "preemptions"], margin=0.05)
    check = record(Verdict(Status.OK, (STEPS, HITS), (FINE,)), session=CPU, judging=judging)
    assert table(check) == [
        "test       verdict  output throughput  change [99 % CI]     detects",
        "test_chat  OK             4,826 tok/s  +0.3 % [-1.1, +1.7]  not gated",
        "2 exact metrics unchanged (-v shows them)",
        "not gated: on a CPU, throughput and latency depend on what else the machine",
        "    does. To gate them: --vllmperf-gate='exact clock'",
    ]
    recorded = record(RECORDED, session=CPU, judging=judging)
    assert table(recorded)[1] == "test_chat  RECORDED        4,391 tok/s  not gated"
    gated = record(Verdict(Status.OK, (FINE, STEPS)), session=CPU, judging=Judging(gate=["ttft.p50"], margin=0.05))
    assert "not gated" not in "".join(table(gated))


def test_with_v_every_metric_has_a_row_and_a_verdict() -> None:
    check = record(Verdict(Status.OK, (FINE, STEPS, HITS), (TTFT,)))
    assert table(check, every=True) == [
        "test       verdict",
        "  metric                                now  change [99 % CI]     detects",
        "test_chat  OK",
        "  output throughput  OK         4,826 tok/s  +0.3 % [-1.1, +1.7]  2.9 %",
        "  engine steps       OK                  64  unchanged            exact",
        "  preemptions        OK                   0  unchanged            exact",
        "  TTFT p50           not gated      50.2 ms  +0.4 % [-2.0, +2.8]  not gated",
        CAPTION,
    ]


def test_what_was_recorded_says_what_it_detects() -> None:
    check = record(RECORDED, judging=Judging(gate=["output_throughput"], margin=0.05))
    outlooks = {check.id: [Outlook("output_throughput", 0.05, QUIET)]}
    assert terminal.summary([check], terminal.names([check], [], 80), outlooks) == [
        "test       verdict   output throughput  detects",
        "test_chat  RECORDED        4,391 tok/s  2.9 %",
        CAPTION,
    ]


def test_what_was_not_judged_has_no_change() -> None:
    check = record(Verdict(Status.NO_BASELINE), values={})
    assert table(check) == ["test       verdict", "test_chat  NO_BASELINE"]
    assert terminal.summary([], terminal.names([], [], 80)) == []


@pytest.mark.parametrize("judged", [(), (FINE, TTFT)], ids=["no-baseline", "ok"])
def test_a_broken_limit_shows_its_own_metric(judged: tuple[MetricVerdict, ...]) -> None:
    limits = (
        LimitVerdict("output_throughput", 1000.0, Status.OK, 4826.0, 4800.0, 4850.0, 0.99, 3),
        LimitVerdict("ttft.p50", 0.02, Status.BEYOND_LIMIT, 0.0502, 0.049, 0.051, 0.99, 3),
    )
    lines = table(record(Verdict(Status.BEYOND_LIMIT, judged, limits=limits), name="test_a"))
    assert lines[0].split()[:4] == ["test", "verdict", "TTFT", "p50"]
    assert lines[1].split()[:4] == ["test_a", "BEYOND_LIMIT", "50.2", "ms"]
    assert ("+0.4 % [-2.0, +2.8]" in lines[1]) is bool(judged)
