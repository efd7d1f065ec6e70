"""Absolute limits in words."""

from __future__ import annotations

from pytest_vllmperf.records.verdict import LimitVerdict, Status, Verdict
from pytest_vllmperf.report import limits

BEYOND = LimitVerdict("ttft.p99", 0.5, Status.BEYOND_LIMIT, 0.612, 0.59, 0.634, 0.99, 3)
KEPT = LimitVerdict("output_throughput", 1000.0, Status.OK, 1234.0, 1200.0, 1260.0, 0.99, 3)
NOISY = LimitVerdict("e2e.p50", 2.0, Status.NOISY, 2.01, 1.97, 2.05, 0.99, 6)


def test_a_line_says_value_interval_and_limit() -> None:
    assert limits.limit_lines(BEYOND, 200) == [
        "BEYOND_LIMIT TTFT p99 612 ms [590 ms, 634 ms] · limit at most 500 ms · 3 engine starts · 99 % CI"
    ]
    assert limits.limit_lines(KEPT, 200)[0].startswith(
        "OK output throughput 1,234 tok/s [1,200 tok/s, 1,260 tok/s] · limit at"
    )
    assert all(len(line) <= 60 for line in limits.limit_lines(BEYOND, 60))


def test_what_is_not_kept_comes_first() -> None:
    shown = limits.failure_lines(Verdict(Status.BEYOND_LIMIT, limits=(KEPT, BEYOND)), 200)
    assert [line.split()[0] for line in shown] == ["BEYOND_LIMIT", "OK"]
    assert limits.failure_lines(Verdict(Status.REGRESSED)) == []


def test_what_was_not_measured_has_no_number() -> None:
    (line,) = limits.limit_lines(LimitVerdict("goodput", 0.9, Status.INVALID), 200)
    assert line == "INVALID goodput not measured · limit at least 90 %"


def test_a_warning_names_the_first_and_counts_the_others() -> None:
    assert limits.warning(Verdict(Status.NOISY, limits=(KEPT, NOISY)), Status.NOISY) == (
        "NOISY E2E latency p50 2.01 s [1.97 s, 2.05 s]: cannot be told from its limit, at most 2 s"
    )
    assert limits.warning(Verdict(Status.NOISY, limits=(NOISY, NOISY)), Status.NOISY).endswith("(and 1 more limit)")
    assert limits.warning(Verdict(Status.NOISY, limits=(KEPT,)), Status.NOISY) == ""
