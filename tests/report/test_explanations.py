"""Explanations in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report.explanations import basis_lines, explanation_lines, fine_percent, prior_words
from pytest_vllmperf.stats.prior import WALL_CLOCK
from pytest_vllmperf.verdict.explanation import (
    DECLINES,
    MIN_ENGINES,
    Basis,
    Budget,
    Clause,
    CreepAnswer,
    ExactUsed,
    Explanation,
    Inequality,
    Look,
    ModelUsed,
)

ENOUGH = Inequality("engines", 3, ">=", MIN_ENGINES, 3, True)
FEW = Inequality("engines", 1, ">=", MIN_ENGINES, 3, False)
FAR, BEYOND = Inequality("d", 0.0873, ">", "M", 0.0513, True), Inequality("d", 0.0873, ">", "q(0.995)", 0.0412, True)
NEAR = Inequality("d", 0.0418, ">", "M", 0.0513, False)
FINE = Inequality("d + q(0.9)", 0.0315, "<", "M", 0.0513, True, (0.0102, 0.0213))
OPEN = Inequality("d + q(0.9)", 0.0631, "<", "M", 0.0513, False, (0.0418, 0.0213))

MODEL = ModelUsed(
    layout=(3, 2),
    engines_log=((-6.9, -6.9, -6.9), (-6.9, -6.9)),
    new_log=(-6.8,),
    sessions_log=(-6.9, -6.9),
    sessions=(1003.2, 998.0),
    sessions_pulled_log=(0.0, 0.0),
    anchor=2,
    level_log=-6.9,
    level=1000.6,
    level_pulled_log=0.0,
    multimodal=False,
    gap=None,
    session_sd=0.0062,
    engine_sd=0.011,
)


def looked(status: Status, *clauses: Clause, engines: int = 3) -> Look:
    return Look(engines, status, 0.0873, -0.0836, 0.0412, 0.0213, 0.09, 0.001, (), clauses)


def explanation(status: Status, *looks: Look) -> Explanation:
    return Explanation(
        "output_throughput", status, "", paired=False, margin=0.05, log_margin=0.0513, min_engines=3, max_engines=6,
        budget=Budget(0.005, 0.00125, 0.1), prior=WALL_CLOCK, model=MODEL, looks=looks,
    )  # fmt: skip


REGRESSED = Clause(Status.REGRESSED, (ENOUGH, FAR, BEYOND))
SLOW = explanation(
    Status.REGRESSED,
    looked(Status.UNDECIDED, Clause(Status.REGRESSED, (FEW, FAR, BEYOND)), engines=1),
    looked(Status.REGRESSED, REGRESSED),
)


def told(one: Explanation) -> str:
    return " ".join(" ".join(explanation_lines(one)).split())


def test_all_of_it_in_a_block_with_labels() -> None:
    assert explanation_lines(SLOW) == [
        "decided   REGRESSED: d = 0.0873 > M = 0.0513 and d = 0.0873 > q(0.995) = 0.0412",
        "margin    5 %: M = 0.0513",
        "errors    a_fail = 0.005 per look, a_drift = 0.00125 per drift test, a_pass =",
        "            0.1",
        "prior     session 1 % (spread 0.5), engine 1.5 % (spread 0.4), correlation 0.25,",
        "            at least 0.1 %; class prior",
        "believed  session sd 0.62 %, engine sd 1.1 %",
        "sessions  2 sessions of 3 + 2 engines, at 1,003, 998 tok/s",
        "level     1,001 tok/s, the mean of the first 2 sessions",
        "looks       engines        d    change    q(0.995)    q(0.9)  status",
        "                  1  +0.0873    -8.4 %      0.0412    0.0213  UNDECIDED",
        "                  3  +0.0873    -8.4 %      0.0412    0.0213  REGRESSED",
        "drift     not tested: it needs two stored sessions",
    ]
    assert max(map(len, explanation_lines(SLOW, 76))) <= 76


def test_the_inequalities_that_decided() -> None:
    passed = explanation(Status.OK, looked(Status.OK, Clause(Status.OK, (FINE,))))
    assert "decided OK: d + q(0.9) = 0.0102 + 0.0213 = 0.0315 < M = 0.0513 margin" in told(passed)
    still = Inequality(DECLINES, 0.0, "<", "1", 1.0, True)
    passed = explanation(Status.OK, looked(Status.OK, Clause(Status.OK, (FINE, still))))
    assert "= 0.0315 < M = 0.0513 and nothing has crept margin" in told(passed)


def test_an_open_look_tells_what_each_status_lacks() -> None:
    """What does not hold is told as it is: never `0.0418 > 0.0513`."""
    crept = Inequality(DECLINES, 1.0, "<", "1", 1.0, False)
    clauses = Clause(Status.REGRESSED, (ENOUGH, NEAR)), Clause(Status.OK, (OPEN, crept))
    noisy = explanation(Status.NOISY, looked(Status.NOISY, *clauses, engines=6))
    assert (
        "decided NOISY: after 6 engines none of the inequalities holds: not REGRESSED: d = 0.0418 <= M = 0.0513 "
        "not OK: d + q(0.9) = 0.0418 + 0.0213 = 0.0631 >= M = 0.0513 and a decline is beyond margin and chance"
    ) in told(noisy)
    young = explanation(Status.NOISY, looked(Status.UNDECIDED, Clause(Status.REGRESSED, (FEW, NEAR)), engines=1))
    assert "NOISY: after 1 engine none of the inequalities holds: not REGRESSED: engines = 1 < 3 and d = " in told(
        young
    )


def test_what_is_far_beyond_is_a_regression_of_one_engine() -> None:
    one = explanation(
        Status.REGRESSED, looked(Status.UNDECIDED, Clause(Status.REGRESSED, (FEW, FAR, BEYOND)), engines=1)
    )
    assert (
        "decided REGRESSED: d = 0.0873 > M = 0.0513 and d = 0.0873 > q(0.995) = 0.0412. It needs 3 engines and "
        "has 1. No further engine can be measured, and a change this large is not accepted as noise"
    ) in told(one)


@pytest.mark.parametrize(
    ("value", "limit", "shown"),
    [(0.05131, 0.05129, "d = 0.05131 > M = 0.05129"), (0.0001234, 0.0001233, "d = 0.0001234 > M = 0.0001233")],
)
def test_numbers_that_differ_are_shown_to_differ(value: float, limit: float, shown: str) -> None:
    clause = Clause(Status.REGRESSED, (Inequality("d", value, ">", "M", limit, True),))
    assert shown in told(explanation(Status.REGRESSED, looked(Status.REGRESSED, clause)))


def test_drift_tells_its_questions() -> None:
    asked = CreepAnswer("trend", 0.0673, 0.0277), CreepAnswer("recent", -0.01, 0.0179)
    one = explanation(Status.REGRESSED, replace(looked(Status.REGRESSED, REGRESSED), creep=asked))
    assert (
        "drift trend loss +0.0673 against q(0.99875) = 0.0277, recent loss -0.0100 against q(0.99875) = 0.0179, "
        "jump +0.0900, before +0.0010"
    ) in told(one)


def test_what_was_done_to_the_sessions() -> None:
    model = replace(
        MODEL, layout=(3,) * 7, sessions=(1000.0,) * 7, sessions_pulled_log=(0.0, -0.0123, *[0.0] * 5), anchor=5,
        level_pulled_log=0.0045, gap=(5, 12), multimodal=True,
    )  # fmt: skip
    text = told(replace(SLOW, model=model))
    assert "7 sessions of 3 engines, at 1,000, 1,000," in text
    assert "12 more sessions before session 6" in text
    assert "session 2: the weight of an outlying engine was reduced, which moved the level by -0.0123" in text
    assert (
        "the mean of the first 5 sessions; the weight of an outlying session was reduced, which moved it by +0.0045"
    ) in text
    assert "the stored engine starts form separate groups" in text
    single = replace(MODEL, layout=(3,), sessions=(1003.2,), anchor=1)
    assert "1 session of 3 engines, at 1,003 tok/s level 1,001 tok/s, of the only session" in told(
        replace(SLOW, model=single)
    )


def test_requests_that_are_paired_have_levels_in_per_cent() -> None:
    model = replace(MODEL, sessions=(1.001, 0.99999999), level=0.9995)
    text = told(replace(SLOW, metric="ttft.p50", paired=True, model=model))
    assert "paired by request: " in text
    assert "at +0.10 %, +0.00 % level -0.05 %" in text
    assert "paired" not in told(SLOW)


@pytest.mark.parametrize(
    ("new", "places", "words"),
    [
        ((17.0, 17.0), (0, 2, 0), "2 within the stored range, out of 2 new engines"),
        ((18.0, 17.0), (0, 1, 1), "1 within and 1 above the stored range, out of 2 new engines"),
        (
            (16.0,),
            (1, 0, 0),
            "1 below the stored range, out of 1 new engine, which a second engine would have to confirm",
        ),
    ],
)
def test_exact_metrics(new: tuple[float, ...], places: tuple[int, int, int], words: str) -> None:
    below, within, above = places
    used = ExactUsed((17.0, 17.0), new, 17.0, 17.0, (Status.OK,), below, within, above)
    one = Explanation("engine_steps", Status.NOISY, "", paired=False, margin=0.0, exact=used)
    assert told(one) == f"decided NOISY: {words} stored 17, 2 engines new {', '.join(f'{value:g}' for value in new)}"


def test_exact_metrics_with_a_margin() -> None:
    used = ExactUsed((17.0, 19.0), (20.0,), 15.3, 20.9, (Status.OK,), 0, 1, 0)
    one = Explanation("engine_steps", Status.OK, "", paired=False, margin=0.1, exact=used)
    assert "stored 17 to 19, 2 engines margin 10 %: 15.3 to 20.9 is tolerated new 20" in told(one)


def test_what_was_not_judged_has_its_reason() -> None:
    one = Explanation("tpot.p50", Status.INVALID, "it was measured on one side only", paired=False, margin=0.05)
    assert explanation_lines(one) == ["decided   INVALID: it was measured on one side only"]


def test_what_all_verdicts_rest_on() -> None:
    basis = Basis("1.2.3", 3, 12, 0.05 / 30, "baselines/h200", whole_profile=True)
    text = " ".join(" ".join(basis_lines(basis)).split())
    assert text.startswith("pytest-vllmperf 1.2.3. ")
    assert "error budget: 12 gated metrics that are subject to noise, in 3 checks: a_fail = 0.001667 for each" in text
    assert text.endswith("hyperparameters are fitted on all baselines of the same hardware below baselines/h200")
    alone = " ".join(basis_lines(replace(basis, fitted_on="a.json", whole_profile=False)))
    assert "fitted on the checks of a.json only" in " ".join(alone.split())
    assert max(map(len, basis_lines(basis))) <= 80


def test_quiet_noise_has_two_digits() -> None:
    assert [fine_percent(one) for one in (0.0025, 0.0003, 0.015, 0.12)] == ["0.25 %", "0.03 %", "1.5 %", "12 %"]
    fitted = replace(WALL_CLOCK, metrics=1, sessions=3)
    assert prior_words(fitted).endswith("; fitted on 1 metric, up to 3 sessions")
