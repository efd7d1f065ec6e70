"""A bisection in words."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vllmperf.records.attribution import Attribution, Change, KernelChange
from pytest_vllmperf.records.bisect import Attempt, Bisection, Final, Followed, Judgement, Point, Result, Step
from pytest_vllmperf.records.kernels import KernelTime
from pytest_vllmperf.report import bisects

FOLLOWED = Followed(check="test_a", metric="tpot.p50")
NOTHING = KernelTime("others", 0.0, 0.0)
KERNELS = Attribution(
    gpu_time=Change(0.006, 0.007),
    kernels=(KernelChange("attention", KernelTime("attention", 10, 0.002), KernelTime("attention", 12, 0.003)),),
    ranks=1,
    others=KernelChange("others", NOTHING, NOTHING),
)


def attempt(judgement: Judgement = Judgement.BAD, change: float = 0.1, **more: Any) -> Attempt:
    status = {Judgement.BAD: "REGRESSED", Judgement.GOOD: "OK"}.get(judgement, "NOISY")
    given = {
        "followed": FOLLOWED,
        "status": status,
        "before": 0.01,
        "now": 0.01 * (1 + change),
        "change": change,
        "low": change - 0.01,
        "high": change + 0.01,
        "confidence": 0.99,
        "margin": 0.05,
        "seconds": 60.0,
        "engine_starts": 6,
    }
    return Attempt(judgement=judgement, **{**given, **more})


def step(version: str, result: Result, *attempts: Attempt, reason: str = "") -> Step:
    return Step(version=version, result=result, reason=reason, attempts=attempts, seconds=90.0)


def found(*, good: int = 1, bad: int = 2, **final: Any) -> Bisection:
    points = tuple(Point(id=f"0.3{place}.0") for place in range(5))
    last = {"attempt": attempt(attribution=KERNELS), "runs": 1, "seconds": 60.0, "engine_starts": 6, **final}
    return Bisection(
        test="test_a.py::test_a",
        points=points,
        steps=(
            step("0.34.0", Result.BAD, attempt(change=0.2)),
            step("0.32.0", Result.BAD, attempt(Judgement.UNDECIDED), attempt()),
            step("0.31.0", Result.GOOD, attempt(Judgement.GOOD, 0.0)),
        ),
        followed=FOLLOWED,
        good=good,
        bad=bad,
        final=Final(before=points[good].id, after=points[bad].id, **last),
    )


def test_the_first_bad_version_its_change_the_steps_and_the_kernels() -> None:
    assert bisects.lines(found(), 100) == [
        "test_a.py::test_a: the first bad version is 0.32.0",
        "0.32.0 against 0.31.0, the last good one: TPOT p50 +10.0 % [+9.0, +11.0] (99 % CI), 10 -> 11 ms,",
        "    margin 5 %",
        "0.34.0 against 0.30.0: TPOT p50 +20.0 % [+19.0, +21.0] (99 % CI), 10 -> 12 ms, margin 5 %",
        "",
        "version    result    TPOT p50 against 0.30.0             runs",
        "0.31.0     good      +0.0 % [-1.0, +1.0] (99 % CI)          1",
        "0.32.0     bad       +10.0 % [+9.0, +11.0] (99 % CI)        2",
        "0.34.0     bad       +20.0 % [+19.0, +21.0] (99 % CI)       1",
        "",
        "3 of 4 versions tried, 5 runs of the test, 30 engine starts, 6 min",
        "",
        "before: 0.31.0",
        "after: 0.32.0",
        "GPU time 6 -> 7 ms  +16.7 %",
        "kernel        times              ms    change",
        "attention  10 -> 12  2.000 -> 3.000    +1.000  +50.0 %",
        "total      10 -> 12  2.000 -> 3.000    +1.000  +50.0 %",
    ]


@pytest.mark.parametrize(
    ("starts", "words"),
    [
        ({"engine_starts": None}, "5 runs of the test, at least 24 engine starts, 6 min"),
        ({"engine_starts": None, "runs": 0}, "4 runs of the test, 24 engine starts, 6 min"),
    ],
)
def test_engine_starts_that_are_not_known(starts: dict[str, Any], words: str) -> None:
    assert f"3 of 4 versions tried, {words}" in bisects.lines(found(**starts), 100)


def test_a_file_of_an_earlier_release_tells_no_engine_starts() -> None:
    one = found(engine_starts=None)
    unknown = tuple(
        step.model_copy(
            update={"attempts": tuple(run.model_copy(update={"engine_starts": None}) for run in step.attempts)}
        )
        for step in one.steps
    )
    told = bisects.lines(one.model_copy(update={"steps": unknown}), 100)
    assert "3 of 4 versions tried, 5 runs of the test, 6 min" in told


def test_a_narrow_line_ends_between_figures_and_never_within_one() -> None:
    assert bisects.lines(found(), 60)[1:6] == [
        "0.32.0 against 0.31.0, the last good one:",
        "    TPOT p50 +10.0 % [+9.0, +11.0] (99 % CI), 10 -> 11 ms,",
        "    margin 5 %",
        "0.34.0 against 0.30.0:",
        "    TPOT p50 +20.0 % [+19.0, +21.0] (99 % CI), 10 -> 12 ms,",
    ]


def test_a_long_reason_is_folded() -> None:
    silent = Attempt(judgement=Judgement.UNJUDGED, reason="the engine failed to start, " * 6)
    assert all(len(line) <= 80 for line in bisects.lines(found(attempt=silent), 80))


def test_a_range_is_said_plainly() -> None:
    one = found(good=0, bad=2)
    head = bisects.lines(one, 100)[0]
    assert head == "test_a.py::test_a: the first bad version is one of 0.31.0, 0.32.0; those before 0.32.0 could not be"


@pytest.mark.parametrize(
    ("final", "words"),
    [
        (
            {"attempt": attempt(Judgement.GOOD, 0.01)},
            "NOT CONFIRMED: against 0.31.0 alone it is OK. The change came in",
        ),
        (
            {"attempt": attempt(Judgement.UNDECIDED, reason="too noisy")},
            "NOT CONFIRMED: that did not decide: too noisy",
        ),
        ({"attempt": None, "reason": "no wheel"}, "0.32.0 against 0.31.0, the last good one: not measured: no wheel"),
        ({"attempt": attempt(others=("e2e.p50",))}, "regressed besides: E2E latency p50"),
    ],
)
def test_what_the_last_comparison_came_to(final: dict[str, Any], words: str) -> None:
    assert words in "\n".join(bisects.lines(found(**final), 200))


@pytest.mark.parametrize(
    ("attribution", "words"),
    [
        (None, "no kernel table: nothing ran on a GPU"),
        (Attribution(), "no kernel table: nothing ran on a GPU"),
        (Attribution(no_pass_before="off", no_pass_after="off"), "no kernel table: off"),
        (Attribution(no_pass_after="CUPTI lost some"), "no kernel table: CUPTI lost some"),
    ],
)
def test_why_there_is_no_table_of_kernels(attribution: Attribution | None, words: str) -> None:
    lines = bisects.lines(found(attempt=attempt(attribution=attribution)), 100)
    assert any(line.startswith(words) for line in lines)


def test_skipped_versions_have_their_reason() -> None:
    one = found()
    skipped = step("0.33.0", Result.SKIPPED, reason="no wheel")
    text = bisects.lines(one.model_copy(update={"steps": (*one.steps, skipped)}), 100)
    assert "0.33.0     skipped" in "\n".join(text)
    assert "0.33.0 was skipped: no wheel" in text


def test_an_exact_metric_has_no_interval() -> None:
    exact = Attempt(
        judgement=Judgement.BAD,
        followed=Followed(check="a", metric="engine_steps"),
        before=10,
        now=12,
        margin=0.0,
    )
    assert bisects.change(exact) == "engine steps, 10 -> 12"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((0, 3, None, "x"), "version 1 of about 3: x"),
        ((2, 1, 100.0, "x"), "version 3 of about 3, about 100 s left: x"),
        ((3, 0, 600.0, "x"), "last run, about 10 min left: x"),
    ],
)
def test_progress(given: tuple[int, int, float | None, str], text: str) -> None:
    assert bisects.progress(*given) == text
