"""A promise of a test: kept or broken in a line with counts, and its goodput gated from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.service import Service

WIDE = "--vllmperf-margin=60% goodput=5%"
PROMISE = "run.assert_slo(ttft=0.5, e2e=5, goodput={goodput})"
LATE = {"ttft": 0.7}
"""An answer that breaks the promise; others have half a second of room."""


def test_a_promise_that_is_kept_is_gated_by_check(service: Service, workers: list[str]) -> None:
    service.chat(then=f"{PROMISE.format(goodput=0.99)}; vllmperf.check(run)")
    service.record(*workers)
    stored = service.stored()
    assert {"output_throughput", "ttft.p50", "tpot.p50", "e2e.p50", "goodput"} <= {*stored["judging"]["gate"]}
    assert [engine["samples"]["goodput"] for engine in stored["sessions"][0]["engines"]] == [[1.0]] * 3
    result = service.project.run("--vllmperf", WIDE, *workers)
    result.assert_outcomes(passed=1)


def test_a_promise_that_is_broken_for_some_fails_with_counts(service: Service, workers: list[str]) -> None:
    service.conduct({}, {}, LATE)
    service.chat(then=f"{PROMISE.format(goodput=0.9)}; vllmperf.check(run)")
    told = _fails(service, *workers)
    assert (
        "goodput 66.67 % (4 of 6 requests met the SLO), required 90 %; ttft above 500 ms: 2, e2e above 5 s: 0, "
        "failed: 0"
    ) in told
    service.chat(then=f"{PROMISE.format(goodput=0.6)}; vllmperf.check(run)")
    service.record()


def test_a_baseline_finds_that_fewer_keep_it(service: Service, workers: list[str]) -> None:
    # The test itself is content with any share: only the baseline knows that all kept the promise.
    service.chat(then=f"{PROMISE.format(goodput=0.1)}; vllmperf.check(run, gate='goodput')")
    service.record()
    assert service.stored()["judging"]["gate"] == ["goodput"]
    service.conduct({}, {}, LATE)
    result = service.project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "REGRESSED goodput *, margin * 100 -> 66.67 %*",
            "FAILED test_chat.py::test_chat - REGRESSED *",
        ]
    )


def test_without_a_promise_there_is_no_goodput(service: Service, workers: list[str]) -> None:
    service.chat()
    service.record(*workers)
    assert "goodput" not in service.stored()["judging"]["gate"]
    service.chat(then="vllmperf.check(run, gate='goodput')")
    assert "the gate cannot be judged: goodput was not measured on " in _fails(service, "--vllmperf-baselines=other")


def test_a_void_measurement_keeps_no_promise(service: Service, workers: list[str]) -> None:
    service.conduct({}, {}, {"fault": "500"})
    service.chat(then="run.assert_slo(ttft=5, goodput=0.1)")
    told = _fails(service, *workers)
    assert "INVALID  scripted name=gateway " in told
    assert "2 of 6 requests failed in iteration 1 (2 status); " in told


def test_failed_requests_that_are_allowed_keep_no_promise(service: Service) -> None:
    service.conduct({}, {}, {"fault": "500"})
    service.chat(then="run.assert_slo(ttft=5, goodput=0.7)", allow="client failed")
    told = _fails(service)
    assert "goodput 66.67 % (4 of 6 requests met the SLO), required 70 %; ttft above 5 s: 0, failed: 2" in told


def test_a_share_near_the_whole_is_told_exactly(service: Service) -> None:
    service.project.perf_tests(check="run.assert_slo(ttft=1, tpot=0.005, goodput=0.995)")
    assert "required 99.5 %" in _fails(service)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("", "an SLO needs at least one of ttft=, tpot= and e2e=, in seconds"),
        ("ttft=0", "ttft=0 must be seconds above zero"),
        ("tpot=-0.1", "tpot=-0.1 must be seconds above zero"),
        ("e2e='5'", "e2e='5' must be seconds above zero"),
        ("ttft=float('nan')", "ttft=nan must be seconds above zero"),
        ("ttft=True", "ttft=True must be seconds above zero"),
        ("ttft=1, goodput=99", "goodput=99 must be above 0 and at most 1"),
        ("ttft=1, goodput=0", "goodput=0 must be above 0 and at most 1"),
    ],
)
def test_figures_that_are_none(service: Service, asked: str, words: str) -> None:
    service.chat(then=f"run.assert_slo({asked})")
    assert words in _fails(service)


def test_an_engine_in_process_can_promise_too(service: Service, workers: list[str]) -> None:
    """Its requests have the same times; the promise is of its own clock."""
    service.project.perf_tests(check="run.assert_slo(ttft=1, tpot=0.015); vllmperf.check(run)")
    service.record(*workers)
    assert "goodput" in service.stored("simulated")["judging"]["gate"]
    service.project.perf_tests(check="run.assert_slo(ttft=1, tpot=0.005)")
    assert "goodput 0 % (0 of 40 requests met the SLO), required 99 %; " in _fails(service)


def _fails(service: Service, *args: str) -> str:
    """Run a test that fails, and give what is said in one line; nothing more is recorded."""
    before = service.project.files()
    result = service.project.run("--vllmperf-update", *args)
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.no_fnmatch_line("*promises.py*")
    result.stdout.no_fnmatch_line("*Traceback*")
    assert service.project.files() == before
    return " ".join(line.strip() for line in result.outlines)


def test_a_promise_after_the_check_is_not_gated_and_that_is_said(service: Service, workers: list[str]) -> None:
    service.chat(then=f"vllmperf.check(run); {PROMISE.format(goodput=0.5)}")
    result = service.record(*workers)
    assert (
        "test_chat: assert_slo() was called after check(); call it before, so that check() can gate goodput"
    ) in " ".join(" ".join(line.split()) for line in result.outlines)
    assert "goodput" not in service.stored()["judging"]["gate"]
