"""A check whose engines were each measured in turns with a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pytest_vllmperf.metrics.declaration import MetricClass
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.kernels import KernelTable
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.samples import EngineSamples, Session
from pytest_vllmperf.records.verdict import Status, Verdict
from pytest_vllmperf.stats import WALL_CLOCK
from pytest_vllmperf.verdict import Evidence, VerdictSettings, judge
from pytest_vllmperf.verdict.in_turns import prior_of_rounds
from pytest_vllmperf.verdict.priors import HISTORY_METRICS
from pytest_vllmperf.verdict.samples import round_samples
from tests.verdict.samples import GATE, THROUGHPUT, TPOT, baseline, engine, engines, evidence, of

OTHER = "vLLM 0.11.0 (/opt/other)"


def in_turns(
    new: Sequence[EngineSamples],
    reference: Sequence[EngineSamples],
    *gate: str,
    stored: Sequence[Session] = (),
    **more: object,
) -> Verdict:
    settings = VerdictSettings(gate or GATE, **more)  # type: ignore[arg-type]
    return judge(Evidence(stored, new, settings, reference=reference, against=OTHER))


def sides(
    count: int, speed: float, drift: float = 0.0, **more: object
) -> tuple[list[EngineSamples], list[EngineSamples]]:
    """New engines and the reference's, whose host gets slower by `drift` from round to round."""
    host = [1 - drift * n for n in range(count)]
    return (
        [engine(500 + n, speed * level, **more) for n, level in enumerate(host)],
        [engine(900 + n, level, **more) for n, level in enumerate(host)],
    )


def without(one: EngineSamples, *names: str) -> EngineSamples:
    return one.model_copy(update={"samples": {name: x for name, x in one.samples.items() if name not in names}})


# --- the ratio ----------------------------------------------------------------------------------------------


def test_no_baseline_is_needed() -> None:
    verdict = in_turns(*sides(1, 1.0))
    assert verdict.status is Status.OK
    assert [one.metric for one in verdict.metrics] == list(GATE)
    assert all(one.against == OTHER for one in (*verdict.metrics, *verdict.information))
    assert of(verdict, THROUGHPUT).noise is not None
    assert judge(evidence(engines(1), sessions=baseline())).metrics[0].against == ""


def test_a_slowdown_needs_three_rounds() -> None:
    assert [in_turns(*sides(count, 0.85), THROUGHPUT).status for count in (1, 2, 3)] == [
        Status.UNDECIDED,
        Status.UNDECIDED,
        Status.REGRESSED,
    ]
    slow = of(in_turns(*sides(3, 0.85)), TPOT)
    assert slow.status is Status.REGRESSED
    assert slow.change == pytest.approx(1 / 0.85 - 1, abs=0.03)
    assert (slow.engines, slow.iterations, slow.margin) == (3, 10, 0.05)
    assert slow.low is not None
    assert slow.low > 0
    assert in_turns(*sides(3, 1.2)).status is Status.IMPROVED


def test_what_a_host_does_to_both_sides_cancels() -> None:
    assert in_turns(*sides(3, 1.0, drift=0.15)).status is Status.OK
    assert in_turns(*sides(3, 0.85, drift=0.15)).status is Status.REGRESSED
    now = of(in_turns(*sides(3, 0.85, drift=0.15)), THROUGHPUT)
    assert now.baseline == pytest.approx(1000 * 0.85, rel=0.03), "the middle of the reference"
    assert now.change == pytest.approx(-0.15, abs=0.03)


@pytest.mark.parametrize("accident", [0.75, 0.6])
def test_one_slow_start_of_the_reference_hides_no_slowdown(accident: float) -> None:
    new, reference = sides(6, 0.88)
    reference[0] = engine(900, accident)
    for count in (1, 2):
        assert in_turns(new[:count], reference[:count]).status is Status.UNDECIDED
    assert Status.OK not in [in_turns(new[:count], reference[:count]).status for count in range(3, 7)]
    assert in_turns(new, reference).status is Status.REGRESSED


def test_requests_are_compared_with_themselves() -> None:
    new, reference = sides(3, 1.0)
    moved = [
        e.model_copy(update={"samples": {**e.samples, "ttft.p50": [1.2 * x for x in e.samples["ttft.p50"]]}})
        for e in new
    ]
    paired = of(in_turns(moved, reference, "ttft.p50"), "ttft.p50")
    assert (paired.status, paired.paired, paired.iterations) == (Status.OK, True, 64)
    cut = [e.model_copy(update={"ttft_by_request": e.ttft_by_request[:-1]}) for e in moved]
    single = of(in_turns(cut, reference, "ttft.p50"), "ttft.p50")
    assert (single.status, single.paired, single.iterations) == (Status.REGRESSED, False, 10)
    few = [
        e.model_copy(
            update={"ttft_by_request": [x * (3 if n % 3 else 1) for n, x in enumerate(e.ttft_by_request[::-1])]}
        )
        for e in new
    ]
    turned = [e.model_copy(update={"ttft_by_request": e.ttft_by_request[::-1]}) for e in reference]
    most = of(in_turns(few, turned, "ttft.p50"), "ttft.p50")
    assert most.change == pytest.approx(2, abs=0.1), "the median request takes three times as long"
    slow, usual = sides(3, 0.85)
    assert of(in_turns(slow, usual, "ttft.p50"), "ttft.p50").status is Status.REGRESSED


def test_counters_are_compared_exactly() -> None:
    new, reference = sides(2, 1.0)
    assert in_turns(new, reference, "engine_steps").status is Status.OK
    more = [e.model_copy(update={"samples": {**e.samples, "engine_steps": [18.0] * 10}}) for e in new]
    assert in_turns(more[:1], reference[:1], "engine_steps").status is Status.UNDECIDED
    found = of(in_turns(more, reference, "engine_steps"), "engine_steps")
    assert (found.status, found.against) == (Status.REGRESSED, OTHER)
    assert found.change == pytest.approx(1 / 17)


def test_margin_and_error_are_those_of_the_settings() -> None:
    assert in_turns(*sides(3, 0.85), margin=0.30).status is Status.OK
    usual, strict = (of(in_turns(*sides(3, 1.0), a_fail=a_fail), TPOT) for a_fail in (0.005, 0.0001))
    assert (usual.confidence, strict.confidence) == (pytest.approx(0.99), pytest.approx(0.9998))
    assert (strict.low or 0) < (usual.low or 0) < (usual.high or 0) < (strict.high or 0)


def test_an_open_verdict_ends_as_noisy_and_a_large_change_does_not() -> None:
    new, reference = sides(2, 0.955)
    assert in_turns(new, reference, THROUGHPUT).status is Status.UNDECIDED
    last = Evidence([], new, VerdictSettings((THROUGHPUT,)), reference=reference, last_look=True)
    assert judge(last).status is Status.NOISY
    slow, usual = sides(2, 0.5)
    assert judge(replace(last, engines=slow, reference=usual)).status is Status.REGRESSED


# --- a baseline beside it -----------------------------------------------------------------------------------


def test_a_baseline_says_only_what_engines_vary_by() -> None:
    faster = baseline(speed=2.0)
    verdict = in_turns(*sides(1, 1.0), stored=faster)
    assert verdict.status is Status.OK, "its level is not asked for"
    noise = of(verdict, THROUGHPUT).noise
    assert noise is not None
    assert (noise.sessions, noise.engines, noise.session_sd) == (5, 15, 0.0)
    loud = [
        s.model_copy(update={"engines": [engine(n, 1 + 0.1 * (n % 5)) for n in range(5 * day, 5 * day + 5)]})
        for day, s in enumerate(baseline())
    ]
    assert in_turns(*sides(3, 0.9), THROUGHPUT).status is Status.REGRESSED
    assert in_turns(*sides(3, 0.9), THROUGHPUT, stored=loud).status is not Status.REGRESSED


def test_a_baseline_of_zeros_or_of_too_few_starts_is_no_hindrance() -> None:
    zeros = [
        s.model_copy(
            update={"engines": [e.model_copy(update={"samples": {THROUGHPUT: [0.0] * 10}}) for e in s.engines]}
        )
        for s in baseline()
    ]
    assert in_turns(*sides(1, 1.0), THROUGHPUT, stored=zeros).status is Status.OK
    thin = baseline(1)[0]
    assert in_turns(*sides(1, 1.0), stored=[thin.model_copy(update={"engines": thin.engines[:1]})]).status is Status.OK


def test_what_differs_from_the_baseline_is_no_reason_not_to_compare() -> None:
    new, reference = sides(1, 1.0)
    both = Evidence(baseline(), new, VerdictSettings(GATE), differences=["gpu: A -> B"], reference=reference)
    assert judge(both).status is Status.OK
    assert judge(replace(both, reference=())).status is Status.NOT_COMPARABLE


def test_a_profile_of_little_history_does_not_make_quiet_engines_look_noisy() -> None:
    known = replace(WALL_CLOCK, engine_spread=0.3, metrics=HISTORY_METRICS, sessions=5)
    assert prior_of_rounds(known) == known
    few = prior_of_rounds(replace(known, metrics=HISTORY_METRICS - 1))
    assert few.engine_spread > 2 * known.engine_spread
    assert replace(few, engine_spread=known.engine_spread, metrics=known.metrics) == known
    same = [EngineSamples(discarded=0, iterations=1, samples={THROUGHPUT: [1000 + n]}) for n in range(3)]
    noises = [
        of(in_turns(same, same, THROUGHPUT, priors={MetricClass.THROUGHPUT: one}), THROUGHPUT).noise
        for one in (known, replace(known, metrics=1))
    ]
    assert noises[0] is not None
    assert noises[1] is not None
    assert noises[1].engine_sd < 0.7 * noises[0].engine_sd


# --- what cannot be judged ----------------------------------------------------------------------------------


def test_a_zero_has_no_ratio_on_either_side() -> None:
    new, reference = sides(3, 1.0)
    assert of(in_turns(new, reference, "queue.p50"), "queue.p50").status is Status.INVALID
    stalled = [e.model_copy(update={"samples": {**e.samples, THROUGHPUT: [0.0] * 10}}) for e in new]
    for pair in ((stalled, reference), (reference, stalled)):
        verdict = in_turns(*pair, THROUGHPUT)
        assert (verdict.status, "a sample is zero" in verdict.metrics[0].reason) == (Status.INVALID, True)


@pytest.mark.parametrize("which", [0, 1])
def test_a_metric_that_one_side_lacks_is_invalid(which: int) -> None:
    both = list(sides(3, 1.0))
    both[which] = [without(one, THROUGHPUT) for one in both[which]]
    verdict = in_turns(*both)
    assert verdict.status is Status.INVALID
    assert of(verdict, THROUGHPUT).reason == "it was measured on one side only"
    assert of(verdict, TPOT).status is Status.OK


@pytest.mark.parametrize("which", [0, 1])
def test_gpu_time_with_and_without_waiting_is_not_compared(which: int) -> None:
    both = [[e.model_copy(update={"passes": {"gpu_time": [1.0] * 3}}) for e in side] for side in sides(3, 1.0)]
    assert of(in_turns(*both, "gpu_time"), "gpu_time").status is Status.OK
    passes = {"gpu_time": [0.9] * 3, "gpu_time.waiting": [0.1] * 3}
    both[which] = [e.model_copy(update={"passes": passes}) for e in both[which]]
    told = of(in_turns(*both, "gpu_time"), "gpu_time")
    assert (told.status, told.reason) == (
        Status.INVALID,
        "some engine starts leave out the wait for other ranks, others contain it",
    )
    assert (told.now, told.baseline) == ((0.9, 1.0), (1.0, 0.9))[which]


@pytest.mark.parametrize("which", [0, 1])
def test_gpu_time_of_one_gpu_is_compared_with_that_of_several(which: int) -> None:
    """One GPU waits for nobody: `tensor_parallel_size` 1 against 2, say."""
    alone, several = {"gpu_time": [1.0] * 3}, {"gpu_time": [1.0] * 3, "gpu_time.waiting": [0.1] * 3}
    both = [list(side) for side in sides(3, 1.0)]
    for at, (passes, ranks) in enumerate([(alone, 1), (several, 2)]):
        side = both[at ^ which]
        update = {"passes": passes, "kernels": [KernelTable()] * ranks}
        both[at ^ which] = [one.model_copy(update=update) for one in side]
    assert of(in_turns(*both, "gpu_time"), "gpu_time").status is Status.OK


def test_a_metric_that_neither_side_has_is_left_out() -> None:
    new, reference = sides(1, 1.0)
    assert [one.metric for one in in_turns(new, reference, TPOT, "cpu_seconds").metrics] == [TPOT]
    assert in_turns(new, reference, "cpu_seconds").status is Status.INVALID


def test_a_round_counts_where_both_sides_started_warm() -> None:
    def side(*cold: bool) -> list[EngineSamples]:
        return [engine(n, cold_start=is_cold, once={"load_time": 5.0}) for n, is_cold in enumerate(cold)]

    waiting = in_turns(side(True, False), side(False, True), "load_time")
    assert (waiting.status, waiting.metrics[0].reason) == (Status.UNDECIDED, "no warm start yet")
    rounds = round_samples(METRICS["load_time"], side(True, False, False), side(False, True, False))
    assert (rounds.new, rounds.reference) == ([[5.0]], [[5.0]])
    assert in_turns(side(True, False, False), side(False, True, False), "load_time").status is Status.OK


def test_void_measurements_are_void_beside_a_reference_too() -> None:
    new, reference = sides(1, 1.0)
    void = Evidence(
        [], new, VerdictSettings(GATE), problems=[Problem("failed", "a request failed")], reference=reference
    )
    assert judge(void).status is Status.INVALID


def test_percentiles_of_too_few_requests_decide_nothing() -> None:
    new, reference = sides(3, 0.8, requests=100)
    verdict = in_turns(new, reference, "ttft.p95", TPOT)
    assert [one.metric for one in verdict.metrics] == [TPOT]
    assert "requests to be gated" in of(verdict, "ttft.p95").reason


# --- what was decided before --------------------------------------------------------------------------------


def test_an_ok_that_later_rounds_refute_is_taken_back() -> None:
    new, reference = sides(3, 0.85)
    settings = VerdictSettings((THROUGHPUT,))
    lucky = judge(Evidence([], new[:1], settings, reference=[engine(900, 0.85)]))
    assert lucky.status is Status.OK
    assert judge(Evidence([], new, settings, reference=reference, previous=lucky)).status is Status.REGRESSED


def test_levels_are_told_in_the_metrics_own_unit() -> None:
    found = of(in_turns(*sides(3, 0.85)), THROUGHPUT)
    assert found.baseline == pytest.approx(1000, rel=0.03)
    assert found.now == pytest.approx(850, rel=0.03)
    assert (found.now or 0) / (found.baseline or 1) - 1 == pytest.approx(found.change)
    assert np.isfinite([found.low or np.nan, found.high or np.nan]).all()


def test_stored_engines_say_what_they_vary_by_request_by_request() -> None:
    """Every request repeats to 0.2 %; the request at the median is another one in each engine, and 20 % apart."""

    def one(seed: int) -> EngineSamples:
        apart = float(np.exp(np.random.default_rng(seed).normal(0, 0.2)))
        return engine(seed).model_copy(
            update={
                "samples": {"ttft.p50": [0.25 * apart] * 10},
                "ttft_by_request": [0.1 + 0.001 * n for n in range(64)],
            }
        )

    made = [one(seed) for seed in range(24)]
    stored = [s.model_copy(update={"engines": made[3 * n : 3 * n + 3]}) for n, s in enumerate(baseline())]
    noise = of(in_turns(made[18:21], made[21:24], "ttft.p50", stored=stored), "ttft.p50").noise
    assert noise is not None
    assert noise.engine_sd < 0.01
