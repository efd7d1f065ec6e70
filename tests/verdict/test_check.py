"""Verdicts: of stored sessions and new samples alone, whatever the scale, the unit's direction or the order."""

import dataclasses
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import NotMeasuredError
from pytest_vllmperf.metrics.records import EngineSamples, Environment, Measurement, Session
from pytest_vllmperf.metrics.table import CLOCK_METRICS, METRICS
from pytest_vllmperf.verdict import Comparison, MetricVerdict, Status, Verdict, VerdictSettings, judge

relaxed = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

ENVIRONMENT = Environment(hard={}, soft={})
UP, DOWN = "output_throughput", "ttft.p50"

Samples = Mapping[str, Sequence[float]]


def engine(samples: Samples, **once: float) -> EngineSamples:
    return EngineSamples(samples={name: list(values) for name, values in samples.items()}, once=once)


def session(*engines: EngineSamples) -> Session:
    return Session(recorded="2026-01-01T00:00:00+00:00", environment=ENVIRONMENT, engines=list(engines))


def measurement(*engines: EngineSamples, problems: tuple[str, ...] = ()) -> Measurement:
    return Measurement("model", "cuda", "h200", {}, ENVIRONMENT, engines, problems)


def judged(metric: str, before: float, now: float, *, margin: float = 0.05) -> Status:
    gate = VerdictSettings((metric,), margin, {metric: margin})
    return judge([session(engine({metric: [before]}))], measurement(engine({metric: [now]})), gate).status


values = st.floats(1e-3, 1e6)


@relaxed
@given(values, values, st.floats(0, 0.5), st.integers(-8, 8))
def test_the_scale_does_not_matter(before: float, now: float, margin: float, power: int) -> None:
    factor = 2.0**power  # exact, so that a value on the very edge stays on its side
    for metric in (UP, DOWN):
        assert judged(metric, before * factor, now * factor, margin=margin) is judged(
            metric, before, now, margin=margin
        )


@relaxed
@given(values, values, st.floats(0, 0.5))
def test_the_other_direction_is_the_mirror(before: float, now: float, margin: float) -> None:
    mirror = {Status.REGRESSED: Status.IMPROVED, Status.IMPROVED: Status.REGRESSED, Status.OK: Status.OK}
    higher = judged(UP, before, now, margin=margin)
    assert judged(DOWN, before, now, margin=margin) is mirror[higher]
    assert judged(UP, now, before, margin=margin) is mirror[higher]


@relaxed
@given(values, st.floats(0, 0.5), st.floats(0.001, 0.5))
def test_a_change_beyond_the_margin_is_told_and_one_within_is_not(base: float, margin: float, more: float) -> None:
    assert judged(DOWN, base, base * (1 + margin + more), margin=margin) is Status.REGRESSED
    assert judged(DOWN, base * (1 + margin + more), base, margin=margin) is Status.IMPROVED
    assume(margin > 0.01)
    assert judged(DOWN, base, base * (1 + margin * 0.9), margin=margin) is Status.OK
    assert judged(DOWN, base * (1 + margin * 0.9), base, margin=margin) is Status.OK


@relaxed
@given(
    st.lists(st.lists(values, min_size=1, max_size=5), min_size=1, max_size=4),
    st.lists(values, min_size=1, max_size=5),
)
def test_the_order_of_samples_engines_and_sessions_does_not_matter(stored: list[list[float]], now: list[float]) -> None:
    gate = VerdictSettings((UP,))
    forth = [session(engine({UP: samples})) for samples in stored]
    back = [session(engine({UP: samples[::-1]})) for samples in stored[::-1]]
    one_session = [session(*(engine({UP: samples}) for samples in stored))]
    verdicts = [
        judge(forth, measurement(engine({UP: now})), gate),
        judge(back, measurement(engine({UP: now[::-1]})), gate),
        judge(one_session, measurement(engine({UP: now})), gate),
    ]
    assert verdicts[0] == verdicts[1] == verdicts[2]


def test_nothing_changed_is_ok_even_without_a_margin() -> None:
    for metric in (UP, DOWN, "preemptions"):
        assert judged(metric, 0.1 + 0.2, 0.1 + 0.2, margin=0) is Status.OK


def test_values_are_the_medians_of_medians() -> None:
    stored = [session(engine({UP: [100.0, 104.0, 9.0]}), engine({UP: [108.0]})), session(engine({UP: [1.0, 1.0]}))]
    now = measurement(engine({UP: [90.0, 91.0, 500.0]}), engine({UP: [93.0]}))
    (found,) = judge(stored, now, VerdictSettings((UP,))).metrics
    assert found == MetricVerdict(UP, Status.REGRESSED, 100.0, 92.0, 0.05)
    assert found.change == pytest.approx(-0.08)


@pytest.mark.parametrize(("metric", "better", "worse"), [("preemptions", 0, 3), ("prefix_cache_hit_tokens", 3, 0)])
def test_a_counter_may_be_zero(metric: str, better: float, worse: float) -> None:
    assert judged(metric, 0, 0, margin=0) is Status.OK
    assert judged(metric, better, worse, margin=0.5) is Status.REGRESSED
    assert judged(metric, worse, better, margin=0.5) is Status.IMPROVED


def test_an_exact_metric_has_no_margin_of_the_general_kind() -> None:
    general = VerdictSettings(("engine_steps",), margin=0.5)
    named = VerdictSettings(("engine_steps",), margin=0.0, margins={"engine_steps": 0.5})
    stored, now = [session(engine({"engine_steps": [100]}))], measurement(engine({"engine_steps": [101]}))
    assert judge(stored, now, general).status is Status.REGRESSED
    assert judge(stored, now, named).status is Status.OK


def test_a_margin_of_its_own_comes_before_the_general_one() -> None:
    stored, now = [session(engine({DOWN: [1.0], UP: [100.0]}))], measurement(engine({DOWN: [1.2], UP: [100.0]}))
    wide = VerdictSettings((UP, DOWN), 0.05, {DOWN: 0.3})
    assert judge(stored, now, wide).status is Status.OK
    assert {m.metric: m.margin for m in judge(stored, now, wide).metrics} == {UP: 0.05, DOWN: 0.3}
    assert judge(stored, now, VerdictSettings((UP, DOWN))).status is Status.REGRESSED


def test_metrics_that_an_engine_has_once_are_judged() -> None:
    stored = [session(engine({}, load_time=10.0))]
    slow = judge(stored, measurement(engine({}, load_time=20.0)), VerdictSettings(("load_time",)))
    assert slow.status is Status.REGRESSED
    assert slow.metrics[0].change == pytest.approx(1.0)


def test_the_worst_metric_decides() -> None:
    stored = [session(engine({UP: [100.0], DOWN: [1.0], "e2e.p50": [5.0]}))]
    gate = VerdictSettings((UP, DOWN, "e2e.p50"))
    better = engine({UP: [200.0], DOWN: [1.0], "e2e.p50": [5.0]})
    mixed = engine({UP: [200.0], DOWN: [2.0], "e2e.p50": [5.0]})
    lost = engine({UP: [200.0], DOWN: [1.0]})
    assert judge(stored, measurement(better), gate).status is Status.IMPROVED
    assert judge(stored, measurement(lost), gate).status is Status.INVALID
    found = judge(stored, measurement(mixed), gate)
    assert found.status is Status.REGRESSED
    assert [m.status for m in found.metrics] == [Status.IMPROVED, Status.REGRESSED, Status.OK]


@pytest.mark.parametrize("missing", ["before", "now"])
def test_a_metric_on_one_side_only_is_never_a_pass(missing: str) -> None:
    whole, part = engine({UP: [100.0], DOWN: [1.0]}), engine({UP: [100.0]})
    before, now = (part, whole) if missing == "before" else (whole, part)
    found = judge([session(before)], measurement(now), VerdictSettings((UP, DOWN)))
    assert found.status is Status.INVALID
    assert getattr(found.metrics[1], "baseline" if missing == "before" else "now") is None
    assert found.metrics[1].change is None


def test_a_metric_on_neither_side_is_left_out() -> None:
    found = judge([session(engine({UP: [1.0]}))], measurement(engine({UP: [1.0]})), VerdictSettings((UP, DOWN)))
    assert (found.status, [m.metric for m in found.metrics]) == (Status.OK, [UP])


def test_nothing_measured_of_the_gate_is_invalid() -> None:
    found = judge([session(engine({UP: [1.0]}))], measurement(engine({UP: [1.0]})), VerdictSettings((DOWN,)))
    assert found == Verdict(Status.INVALID, reasons=("none of the gated metrics was measured",))


def test_the_clock_is_information_where_it_does_not_decide() -> None:
    samples = dict.fromkeys((*CLOCK_METRICS, "engine_steps"), (10.0,))
    slower = {**samples, DOWN: (99.0,)}
    found = judge([session(engine(samples))], measurement(engine(slower)), VerdictSettings(("engine_steps", UP)))
    assert found.status is Status.OK
    assert [m.metric for m in found.information] == [name for name in CLOCK_METRICS if name != UP]
    assert [m.status for m in found.information if m.metric == DOWN] == [Status.REGRESSED]


def test_why_there_is_nothing_to_judge() -> None:
    stored, now = [session(engine({UP: [1.0]}))], measurement(engine({UP: [0.1]}))
    void = measurement(engine({UP: [1.0]}), problems=("a request did not finish",))
    gate = VerdictSettings((UP,))
    assert judge([], now, gate) == Verdict(Status.NO_BASELINE)
    assert judge([], now, gate, ["model: a -> b"]) == Verdict(Status.NO_BASELINE)
    assert judge(stored, now, gate, ["model: a -> b"]) == Verdict(Status.NOT_COMPARABLE, reasons=("model: a -> b",))
    for sessions in ([], stored):
        assert judge(sessions, void, gate) == Verdict(Status.INVALID, reasons=("a request did not finish",))


def test_judging_changes_nothing_it_was_given() -> None:
    stored, now = session(engine({UP: [3.0, 1.0, 2.0]})), measurement(engine({UP: [2.0, 1.0]}))
    before = stored.model_copy(deep=True)
    judge([stored], now, VerdictSettings((UP,)))
    assert stored == before
    assert now.engines[0].samples == {UP: [2.0, 1.0]}


def comparison(a: Samples, b: Samples, confidence: float = 0.99) -> Comparison:
    return Comparison(measurement(engine(a)), measurement(engine(b)), confidence)


@relaxed
@given(st.lists(st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)), min_size=1, max_size=8))
def test_a_speedup_above_one_means_that_a_wins(rounds: list[tuple[float, float]]) -> None:
    a, b = zip(*rounds, strict=True)
    higher = comparison({UP: a}, {UP: b}).speedup(UP)
    lower = comparison({DOWN: a}, {DOWN: b}).speedup(DOWN)
    turned = comparison({UP: b}, {UP: a}).speedup(UP)
    assert lower == turned
    assert higher.estimate * lower.estimate == pytest.approx(1)
    assert higher.pairs == len(rounds)


def test_a_speedup_pairs_the_rounds() -> None:
    found = comparison({UP: (20.0, 40.0)}, {UP: (10.0, 20.0)}, 0.9).speedup()
    assert (found.low, found.estimate, found.high) == pytest.approx((2.0, 2.0, 2.0))
    assert found.confidence == 0.9


@pytest.mark.parametrize(
    ("a", "b", "metric", "message"),
    [
        ({UP: [1.0]}, {}, UP, "output throughput was not measured on both engines"),
        ({}, {UP: [1.0]}, UP, "output throughput was not measured on both engines"),
        ({"preemptions": [0.0]}, {"preemptions": [1.0]}, "preemptions", "preemptions"),
        ({UP: [1.0]}, {UP: [1.0]}, "speed", "no metric is called 'speed'"),
    ],
)
def test_a_speedup_that_was_not_measured_raises(a: Samples, b: Samples, metric: str, message: str) -> None:
    with pytest.raises(NotMeasuredError, match=message):
        comparison(a, b).speedup(metric)


def test_verdicts_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Verdict(Status.OK).status = Status.REGRESSED  # type: ignore[misc]


def test_every_clock_metric_is_in_the_table() -> None:
    assert set(CLOCK_METRICS) <= set(METRICS)
