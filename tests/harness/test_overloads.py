"""Why a test with an overload fails."""

from __future__ import annotations

from dataclasses import replace

from pytest_vllmperf.harness.overloads import why_failed
from pytest_vllmperf.records.overload import Counts, Overload, OverloadPlan, Recovery
from pytest_vllmperf.records.served import Slo

PLAN = OverloadPlan(Slo(ttft=1.0))
SOUND = Overload(
    capacity=10.0,
    concurrency=4,
    unloaded_ttft=0.1,
    goodput_at_capacity=10.0,
    offered=30.0,
    seconds=30.0,
    single=Counts(10, 10, 10),
    closed=Counts(40, 40, 40),
    load=Counts(900, 300, 300, shed=600),
    goodput_rate=9.9,
    recovery=Recovery(Counts(20, 20, 20), 0.5, 0.1, 0.11),
)
LIMITED = replace(SOUND, client=("the closed loop: a", "the overload: b"))


def test_what_stands_it_does_not_fail() -> None:
    assert why_failed("t.py::t", SOUND, PLAN, ()) == ""


def test_all_that_does_not_hold_is_in_one_line() -> None:
    bad = replace(SOUND, goodput_rate=1.0, shed_p99=2.0)
    assert why_failed("t.py::t", bad, PLAN, ()) == (
        "t.py::t: overload at 30 requests/s, 3 times the capacity: loses goodput; goodput 1 requests/s, required 9 (10 "
        "at capacity); refuses late: refusals took 2 s (p99), longer than the SLO of 1 s for an answer"
    )


def test_a_client_that_was_the_limit_voids_it_whatever_else_was_seen() -> None:
    line = "INVALID  t.py::t: the load generator was the bottleneck in the closed loop: a; in the overload: b"
    assert why_failed("t.py::t", LIMITED, PLAN, ()) == line
    assert why_failed("t.py::t", replace(LIMITED, goodput_rate=0.0), PLAN, ("failed",)) == line


def test_the_rule_on_the_client_can_be_turned_off_as_of_any_measurement() -> None:
    assert why_failed("t.py::t", LIMITED, PLAN, ("client",)) == ""
    assert "loses goodput" in why_failed("t.py::t", replace(LIMITED, goodput_rate=0.0), PLAN, ("client",))
