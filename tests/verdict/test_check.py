"""A check as a whole: each metric by its class, the worst of them, and what stays decided."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.verdict import MetricVerdict, Status, Verdict
from pytest_vllmperf.verdict import VerdictSettings, judge
from pytest_vllmperf.verdict.check import clearly_better
from tests.verdict.samples import GATE, THROUGHPUT, TPOT, baseline, engine, engines, evidence, of, session

# --- the check ---------------------------------------------------------------------------------------------


def test_nothing_to_judge_has_its_own_words() -> None:
    same = evidence(engines())
    assert judge(replace(same, sessions=[])) == Verdict(Status.NO_BASELINE)
    assert judge(replace(same, differences=["gpu: A -> B"])) == Verdict(Status.NOT_COMPARABLE, reasons=("gpu: A -> B",))
    void = replace(same, sessions=[], problems=[Problem("failed", "a request failed")])
    assert judge(void) == Verdict(Status.INVALID, reasons=("a request failed [failed]",))


def test_the_first_engine_is_enough_where_nothing_changed() -> None:
    verdict = judge(evidence(engines(1)))
    assert verdict.status is Status.OK
    assert [one.metric for one in verdict.metrics] == list(GATE)
    assert [one.metric for one in verdict.information] == ["ttft.p50", "e2e.p50"]


def test_a_slowdown_needs_three_engines() -> None:
    assert [judge(evidence(engines(count, 0.85))).status for count in (1, 2, 3)] == [
        Status.UNDECIDED,
        Status.UNDECIDED,
        Status.REGRESSED,
    ]
    assert judge(evidence(engines(3, 1.2))).status is Status.IMPROVED


def test_the_worst_metric_speaks_for_the_check() -> None:
    slow = [e.model_copy(update={"samples": {**e.samples, TPOT: [0.03] * 10}}) for e in engines()]
    verdict = judge(evidence(slow))
    assert verdict.status is Status.REGRESSED
    assert [one.status for one in verdict.metrics] == [Status.OK, Status.REGRESSED]
    assert judge(evidence(slow, THROUGHPUT)).status is Status.OK


def test_what_was_decided_stays_decided_but_for_an_ok_that_later_engines_refute() -> None:
    first = judge(evidence(engines(1), THROUGHPUT))
    unclear = engines(2, 0.955)
    assert judge(evidence(unclear, THROUGHPUT)).status is Status.UNDECIDED
    after = judge(evidence(unclear, THROUGHPUT, previous=first))
    assert (after.status, after.metrics) == (Status.OK, first.metrics)
    slow = engines(3, 0.8)
    regressed = judge(evidence(slow, THROUGHPUT, previous=first))
    assert (regressed.status, regressed.metrics[0].engines) == (Status.REGRESSED, 3)
    assert judge(evidence(engines(6), THROUGHPUT, previous=regressed)).metrics == regressed.metrics
    undecided = judge(evidence(engines(1, 0.8), THROUGHPUT))
    assert judge(evidence(slow, THROUGHPUT, previous=undecided)).status is Status.REGRESSED


def test_an_open_verdict_ends_as_noisy() -> None:
    some = engines(2, 0.955)
    assert judge(evidence(some)).status is Status.UNDECIDED
    assert judge(evidence(some, last_look=True)).status is Status.NOISY
    assert judge(evidence(some, settings=VerdictSettings(GATE, max_engines=2))).status is Status.NOISY


def test_a_change_far_beyond_margin_and_noise_is_never_noisy() -> None:
    """Too few engines for the rule, and none will follow."""
    slow = engines(2, 0.6)
    assert judge(evidence(slow, THROUGHPUT)).status is Status.UNDECIDED
    assert judge(evidence(slow, THROUGHPUT, last_look=True)).status is Status.REGRESSED
    assert judge(evidence(engines(1, 0.6), "tpot.p50", last_look=True)).status is Status.REGRESSED


@pytest.mark.parametrize("metric", [THROUGHPUT, "cpu_seconds"])
def test_a_metric_that_one_side_lacks_is_invalid(metric: str) -> None:
    other = [e.model_copy(update={"samples": {**e.samples, "cpu_seconds": [1.0] * 10}}) for e in engines()]
    new = other if metric == "cpu_seconds" else engines()
    stored = baseline()
    if metric == THROUGHPUT:
        new = [e.model_copy(update={"samples": {TPOT: e.samples[TPOT]}}) for e in new]
    verdict = judge(evidence(new, metric, TPOT, sessions=stored))
    assert verdict.status is Status.INVALID
    assert of(verdict, metric).reason == "it was measured on one side only"
    assert None in (of(verdict, metric).baseline, of(verdict, metric).now)


@pytest.mark.parametrize("metric", ["gpu_time", "gpu_time.decode_step", "gpu_time.prefill"])
def test_gpu_time_with_and_without_waiting_is_not_compared(metric: str) -> None:
    """A baseline that holds the wait for other ranks would let a slowdown pass that is as long as the wait."""
    whole = {metric: [1.1] * 3}
    without = {metric: [1.0] * 3, "gpu_time.waiting": [0.0] * 3}
    for stored, new in ((whole, without), (without, whole)):
        found = judge(evidence(engines(passes=new), metric, TPOT, sessions=baseline(passes=stored)))
        assert found.status is Status.INVALID
        told = of(found, metric)
        assert told.reason == (
            "some engine starts leave out the wait for other ranks, others contain it; record the baseline again "
            "(--vllmperf-update)"
        )
        assert (told.baseline, told.now) == (stored[metric][0], new[metric][0])
        assert of(found, TPOT).status is Status.OK
        same = judge(evidence(engines(passes=new), metric, TPOT, sessions=baseline(passes=new)))
        assert of(same, metric).status is Status.OK
    lost = [engine(500), engine(501, passes=without)]
    found = judge(evidence(lost, metric, sessions=baseline(passes=without)))
    assert of(found, metric).status is Status.OK, "an engine without a pass has no other GPU time"
    mixed = [*baseline(3, passes=whole), *baseline(2, passes=without)]
    found = judge(evidence(engines(passes=without), metric, TPOT, sessions=mixed))
    assert of(found, metric).status is Status.INVALID


def test_a_metric_that_nobody_measured_is_left_out() -> None:
    assert [one.metric for one in judge(evidence(engines(), THROUGHPUT, "cpu_seconds")).metrics] == [THROUGHPUT]
    verdict = judge(evidence(engines(), "cpu_seconds"))
    assert (verdict.status, verdict.reasons) == (Status.INVALID, ("none of the gated metrics was measured",))


# --- classes of metrics ------------------------------------------------------------------------------------


def test_ttft_is_compared_request_by_request() -> None:
    """A request at the edge moves the median of all by 20 % where every single one is as fast as ever."""
    moved = [
        e.model_copy(update={"samples": {**e.samples, "ttft.p50": [1.2 * x for x in e.samples["ttft.p50"]]}})
        for e in engines()
    ]
    paired = of(judge(evidence(moved, "ttft.p50")), "ttft.p50")
    assert (paired.status, paired.paired, paired.iterations) == (Status.OK, True, 64)
    assert paired.change == pytest.approx(0, abs=0.03)
    assert paired.now == pytest.approx(1.2 * (paired.baseline or 0), rel=0.05)

    cut = [e.model_copy(update={"ttft_by_request": e.ttft_by_request[:-1]}) for e in moved]
    single = of(judge(evidence(cut, "ttft.p50")), "ttft.p50")
    assert (single.status, single.paired, single.iterations) == (Status.REGRESSED, False, 10)


@pytest.mark.parametrize(
    ("metric", "requests", "decides"),
    [
        ("ttft.p95", 499, False),
        ("ttft.p95", 500, True),
        ("ttft.p99", 1999, False),
        ("ttft.p99", 2000, True),
        ("itl.p95", 31, False),  # 31 requests of 16 tokens: 496 gaps
        ("itl.p95", 32, True),
    ],
)
def test_percentiles_decide_from_enough_observations_on(metric: str, requests: int, decides: bool) -> None:
    new = engines(3, 0.8, requests=requests)
    verdict = judge(evidence(new, metric, "engine_steps", sessions=baseline(requests=requests)))
    assert verdict.status is (Status.REGRESSED if decides else Status.OK)
    assert bool(of(verdict, metric).reason) is not decides
    if not decides:
        assert "to be gated; this workload has " in of(verdict, metric).reason
        alone = judge(evidence(new, metric, sessions=baseline(requests=requests)))
        assert (alone.status, alone.reasons) == (Status.INVALID, (of(verdict, metric).reason,))


@pytest.mark.parametrize(
    ("metric", "margin", "margins", "expected"),
    [
        (THROUGHPUT, 0.05, {}, 0.05),
        ("ttft.p95", 0.05, {}, 0.10),
        ("ttft.p95", 0.30, {}, 0.30),
        ("ttft.p95", 0.05, {"ttft.p95": 0.02}, 0.02),
        ("load_time", 0.05, {}, 0.20),
        ("engine_steps", 0.05, {}, 0.0),
        ("engine_steps", 0.05, {"engine_steps": 0.5}, 0.5),
    ],
)
def test_margins(metric: str, margin: float, margins: dict[str, float], expected: float) -> None:
    assert VerdictSettings((metric,), margin, margins).margin_of(METRICS[metric]) == expected


def test_the_margin_decides() -> None:
    slow = engines(3, 0.85)
    assert judge(evidence(slow, settings=VerdictSettings(GATE, 0.30))).status is Status.OK
    only_one = VerdictSettings(GATE, 0.30, {TPOT: 0.05})
    assert [one.status for one in judge(evidence(slow, settings=only_one)).metrics] == [Status.OK, Status.REGRESSED]


def test_fewer_false_alarms_are_asked_for_with_a_wider_interval() -> None:
    usual, strict = (
        of(judge(evidence(engines(), settings=VerdictSettings(GATE, a_fail=a_fail))), TPOT) for a_fail in (0.005, 0.001)
    )
    assert (usual.confidence, strict.confidence) == (pytest.approx(0.99), pytest.approx(0.998))
    assert None not in (usual.low, usual.high, strict.low, strict.high)
    assert (strict.low or 0) < (usual.low or 0) < (usual.high or 0) < (strict.high or 0)


def test_counters_are_exact_and_confirmed() -> None:
    more = {"samples": {"engine_steps": [18.0] * 10}}
    assert judge(evidence(engines(1), "engine_steps")).status is Status.OK
    assert judge(evidence(engines(1, **more), "engine_steps")).status is Status.UNDECIDED
    verdict = judge(evidence(engines(2, samples={"engine_steps": [18.0] * 10}), "engine_steps"))
    assert verdict.status is Status.REGRESSED
    assert of(verdict, "engine_steps").change == pytest.approx(1 / 17)
    assert of(verdict, "engine_steps").noise is None


def loads(*seconds: float) -> list[EngineSamples]:
    """Engines of one run: the first starts cold, in ten times that."""
    return [
        engine(
            n, cold_start=n == 0, once={"load_time": s * 10, "load_time.cold": s * 10} if n == 0 else {"load_time": s}
        )
        for n, s in enumerate(seconds)
    ]


def test_load_time_counts_for_warm_starts() -> None:
    stored = [session(loads(5.0, 5.1, 4.9, 5.0)) for _ in range(4)]
    cold = judge(evidence(loads(5.0), "load_time", sessions=stored))
    assert (cold.status, of(cold, "load_time").reason) == (Status.UNDECIDED, "no warm start yet")
    assert judge(evidence(loads(5.0), "load_time", sessions=stored, last_look=True)).status is Status.NOISY
    assert judge(evidence(loads(9.0, 5.0), "load_time", sessions=stored)).status is Status.OK
    slow = judge(evidence(loads(5.0, 7.5, 7.5, 7.5), "load_time", sessions=stored))
    assert slow.status is Status.REGRESSED
    assert of(slow, "load_time").baseline == pytest.approx(5.0, rel=0.02)
    cold_one = of(slow, "load_time.cold")
    assert cold_one in slow.information
    assert cold_one.baseline == pytest.approx(50.0)
    assert judge(evidence(loads(5.0, 5.6, 5.6, 5.6), "load_time", sessions=stored)).status is Status.OK


def test_cold_starts_decide_nothing() -> None:
    stored = [session(loads(5.0, 5.0)) for _ in range(4)]
    verdict = judge(evidence(loads(50.0), "load_time.cold", sessions=stored))
    assert (verdict.status, verdict.reasons) == (Status.INVALID, ("cold starts are not judged",))


def peaks(*values: float) -> list[EngineSamples]:
    """Engines of one run: the first starts cold."""
    return [
        engine(n, cold_start=n == 0, samples={"torch_peak_bytes": [value] * 10}, once={"weight_bytes": 70.0})
        for n, value in enumerate(values)
    ]


def test_an_exact_metric_may_be_compared_between_warm_starts_only() -> None:
    gate, stored = ("torch_peak_bytes", "weight_bytes"), [session(peaks(90.0, 100.0, 100.0))]
    cold = judge(evidence(peaks(90.0), *gate, sessions=stored))
    assert [one.status for one in cold.metrics] == [Status.OK, Status.UNDECIDED]
    assert (of(cold, "torch_peak_bytes").reason, of(cold, "torch_peak_bytes").baseline) == (
        "no warm start yet",
        100.0,
    )
    assert judge(evidence(peaks(90.0), *gate, sessions=stored, last_look=True)).status is Status.NOISY
    assert judge(evidence(peaks(120.0, 100.0), *gate, sessions=stored)).status is Status.OK
    assert judge(evidence(peaks(90.0, 95.0, 95.0), *gate, sessions=stored)).status is Status.IMPROVED
    assert judge(evidence(peaks(90.0, 101.0, 101.0), *gate, sessions=stored)).status is Status.REGRESSED
    higher = [session(peaks(110.0, 100.0, 100.0))]
    assert judge(evidence(peaks(110.0, 105.0, 105.0), *gate, sessions=higher)).status is Status.REGRESSED


@pytest.mark.parametrize("new", [peaks(90.0), peaks(90.0, 100.0)])
def test_a_baseline_without_a_warm_start_cannot_judge(new: list[EngineSamples]) -> None:
    verdict = judge(evidence(new, "torch_peak_bytes", sessions=[session(peaks(90.0)) for _ in range(3)]))
    assert verdict.status is Status.INVALID
    assert "no warm start" in of(verdict, "torch_peak_bytes").reason


def test_what_the_baseline_never_measured_is_not_waited_for() -> None:
    verdict = judge(evidence(peaks(90.0), "torch_peak_bytes"))
    assert (verdict.status, of(verdict, "torch_peak_bytes").reason) == (
        Status.INVALID,
        "it was measured on one side only",
    )


# --- little to judge by ------------------------------------------------------------------------------------


def test_one_of_everything_passes_or_is_noisy() -> None:
    def single(speed: float, count: int) -> list[EngineSamples]:
        return [EngineSamples(discarded=0, iterations=1, samples={THROUGHPUT: [1000 * speed]}) for _ in range(count)]

    stored = [session(single(1.0, 3))]
    assert judge(evidence(single(1.0, 6), THROUGHPUT, sessions=stored)).status is Status.OK
    assert judge(evidence(single(0.5, 6), THROUGHPUT, sessions=stored)).status is Status.REGRESSED


@pytest.mark.parametrize(("starts", "words"), [(1, "1 engine start;"), (2, "2 engine starts;")])
def test_fewer_than_three_engine_starts_are_no_baseline(starts: int, words: str) -> None:
    verdict = judge(evidence(engines(6, 0.3), THROUGHPUT, sessions=[session(engines(starts))]))
    assert verdict.status is Status.NO_BASELINE
    assert verdict.reasons == (f"the baseline holds {words} at least 3 are needed",)


def test_a_metric_that_too_few_stored_engines_have_is_not_passed_when_it_is_far_off() -> None:
    """Warm load times, say: three starts of which one was cold hold two."""
    others = [one.model_copy(update={"samples": {"tpot.p50": one.samples["tpot.p50"]}}) for one in engines(2)]
    stored = [session([*engines(1), *others])]
    verdict = judge(evidence(engines(6, 0.3), THROUGHPUT, sessions=stored))
    assert verdict.status is Status.REGRESSED


def test_identical_values_are_judged_by_the_priors() -> None:
    def same(value: float, count: int) -> list[EngineSamples]:
        return [EngineSamples(discarded=0, iterations=3, samples={THROUGHPUT: [value] * 3}) for _ in range(count)]

    stored = [session(same(1000.0, 3)) for _ in range(5)]
    assert judge(evidence(same(1000.0, 1), THROUGHPUT, sessions=stored)).status is Status.OK
    assert judge(evidence(same(970.0, 3), THROUGHPUT, sessions=stored)).status is Status.OK
    assert judge(evidence(same(900.0, 3), THROUGHPUT, sessions=stored)).status is Status.REGRESSED


def test_a_zero_has_no_ratio() -> None:
    verdict = judge(evidence(engines(), "queue.p50"))
    assert verdict.status is Status.INVALID
    assert of(verdict, "queue.p50").reason == "a sample is zero, but this metric is judged by a ratio"


# --- what may join a baseline ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "change", "joins"),
    [
        (Status.OK, 0.04, True),
        (Status.OK, -0.04, True),
        (Status.OK, 0.06, False),
        (Status.NOISY, 0.04, True),
        (Status.NOISY, -0.06, False),
        (Status.IMPROVED, 0.04, False),
        (Status.REGRESSED, 0.04, False),
        (Status.UNDECIDED, 0.0, False),
    ],
)
def test_only_what_lies_within_the_margins_agrees(status: Status, change: float, joins: bool) -> None:
    one = MetricVerdict(TPOT, status, 1.0, 1.0 + change, 0.05, change)
    counter = MetricVerdict("preemptions", Status.OK, 0.0, 0.0, 0.0)
    assert Verdict(status, (counter, one)).agrees is joins
    assert not Verdict(status, (replace(counter, now=1.0), one)).agrees


@pytest.mark.parametrize(
    ("metric", "low", "high", "better"),
    [
        (THROUGHPUT, 0.06, 0.2, True),
        (THROUGHPUT, 0.04, 0.2, False),
        (THROUGHPUT, -0.2, -0.06, False),
        (TPOT, -0.2, -0.06, True),
        (TPOT, -0.2, -0.04, False),
        (TPOT, 0.06, 0.2, False),
    ],
)
def test_what_is_clearly_better(metric: str, low: float, high: float, better: bool) -> None:
    assert clearly_better(MetricVerdict(metric, Status.OK, 1.0, 1.0, 0.05, low=low, high=high)) is better
