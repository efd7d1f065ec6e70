"""What does not hold of an overload: each fault has a line of its own, and a sound server has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vllmperf.records.overload import Counts, Overload, OverloadPlan, Recovery
from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.verdict.overload import MOST_VRAM_KEPT, problems_of

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
    ttft_p50=0.5,
    ttft_p99=0.9,
    shed_p99=0.01,
    in_flight_max=12,
    recovery=Recovery(Counts(20, 20, 20), 0.5, 0.1, 0.11),
)


def test_a_server_that_sheds_what_it_cannot_serve_has_no_problem() -> None:
    assert problems_of(SOUND, PLAN) == []


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {"single": Counts(10, 7, 7, shed=2, broken={"cut": 1}), "load": None},
            "fails below capacity: 3 of 10 requests sent one at a time were not answered (2 shed with 429 or "
            "503, 1 cut off)",
        ),
        (
            {"closed": Counts(40, 36, 36, refused=4), "load": None},
            "fails at capacity: 4 of 40 requests of a closed loop with 4 in flight were not answered (4 connection "
            "refused); lower the workload's concurrency, or leave it out",
        ),
        (
            {"closed": Counts(40, 40, 35)},
            "does not meet the SLO at capacity: 35 of 40 requests met it, with 4 in flight (10 requests/s); "
            "relax the SLO, or lower the workload's concurrency",
        ),
        (
            {"load": Counts(900, 900, 900)},
            "was not overloaded: all 900 requests met the SLO, at 30 requests/s; the capacity of 10 requests/s, "
            "measured with 4 in flight, is too low: leave the workload's concurrency out, or raise factor= or seconds=",
        ),
        (
            {"load": Counts(900, 300, 300, shed=590, broken={"short": 3, "error": 7}, example="gone")},
            "breaks requests: 10 of 900 were neither answered nor refused (7 ended by an error, 3 answers with "
            "too few tokens); the first: gone",
        ),
        (
            {"load": Counts(900, 900, 90), "goodput_rate": 3.0, "ttft_p99": 60.0, "in_flight_max": 600},
            "queues for too long: 810 of 900 answers missed the SLO (TTFT p50 500 ms, p99 60 s, up to 600 in "
            "flight); goodput 3 requests/s, required 9 (10 at capacity)",
        ),
        (
            {"load": Counts(900, 90, 90, shed=800, refused=10), "goodput_rate": 3.0},
            "sheds too much: 810 of 900 requests (90 %) were refused, but only 67 % exceed its capacity; "
            "goodput 3 requests/s, required 9 (10 at capacity)",
        ),
        (
            {"load": Counts(900, 300, 300, shed=600), "goodput_rate": 8.9},
            "loses goodput; goodput 8.9 requests/s, required 9 (10 at capacity)",
        ),
        (
            {"shed_p99": 1.2},
            "refuses late: refusals took 1.2 s (p99), longer than the SLO of 1 s for an answer",
        ),
        (
            {"recovery": Recovery(Counts(20, 4, 4, shed=16), None, None, 0.11)},
            "does not recover within 10 s: 16 of 20 single requests afterwards were not answered (16 shed with 429 or "
            "503)",
        ),
        (
            {
                "load": Counts(900, 900, 90),
                "goodput_rate": 3.0,
                "ttft_p99": 60.0,
                "in_flight_max": 600,
                "queue_max": 590.0,
            },
            "queues for too long: 810 of 900 answers missed the SLO (TTFT p50 500 ms, p99 60 s, up to 600 in "
            "flight, 590 of them waiting in the server); goodput 3 requests/s, required 9 (10 at capacity)",
        ),
        (
            {"recovery": Recovery(Counts(20, 20, 2), None, 0.1, 0.11)},
            "does not recover within 10 s: 18 of 20 single requests afterwards missed the SLO",
        ),
        (
            {"recovery": Recovery(Counts(20, 20, 20), None, 0.5, 0.11)},
            "does not recover within 10 s: TTFT 500 ms afterwards, 100 ms before (required: at most 110 ms)",
        ),
        (
            {"vram_before": 2**34, "vram_after": 2**34 + 2**28},
            "keeps 256 MiB of VRAM: 16 GiB before, 16.25 GiB after the recovery",
        ),
    ],
)
def test_each_fault_has_a_line_of_its_own(changed: dict[str, object], line: str) -> None:
    assert problems_of(replace(SOUND, **changed), PLAN) == [line]  # type: ignore[arg-type]


def test_a_fault_of_each_phase_is_told() -> None:
    bad = replace(
        SOUND,
        load=Counts(900, 290, 290, shed=600, broken={"cut": 10}),
        goodput_rate=0.0,
        shed_p99=5.0,
        recovery=Recovery(Counts(20, 0, 0, shed=20), None, None, 0.11),
    )
    assert [line.split(":")[0].split(";")[0] for line in problems_of(bad, PLAN)] == [
        "breaks requests",
        "loses goodput",
        "refuses late",
        "does not recover within 10 s",
    ]


def test_a_promise_that_nothing_keeps_at_capacity_is_not_kept_under_overload_either() -> None:
    """A reference of zero would let every goodput pass."""
    vain = replace(SOUND, closed=Counts(40, 40, 0), goodput_at_capacity=0.0, goodput_rate=0.0)
    assert problems_of(vain, PLAN)[0].startswith("does not meet the SLO at capacity: 0 of 40 requests met it")


def test_without_an_overload_there_is_always_a_problem() -> None:
    assert problems_of(replace(SOUND, load=None), PLAN) == [
        "no load was sent, because the capacity could not be measured"
    ]


def test_what_an_allocator_keeps_in_reserve_is_no_leak() -> None:
    assert problems_of(replace(SOUND, vram_before=2**34, vram_after=2**34 + MOST_VRAM_KEPT), PLAN) == []


def test_late_refusals_are_held_against_the_whole_answer_where_no_first_token_is_promised() -> None:
    slow = replace(SOUND, shed_p99=4.0)
    assert problems_of(slow, replace(PLAN, slo=Slo(e2e=5.0))) == []
    assert len(problems_of(slow, replace(PLAN, slo=Slo(e2e=3.0)))) == 1
    assert problems_of(slow, replace(PLAN, slo=Slo(tpot=0.1))) == []
