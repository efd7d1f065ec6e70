"""What a declaration says of a metric, and what it does as an attribute."""

from __future__ import annotations

import pytest

from pytest_vllmperf.metrics.declaration import Clock, Metric, MetricClass, Start
from pytest_vllmperf.metrics.distribution import DistributionMetrics
from pytest_vllmperf.metrics.observed import EngineStart, Iteration
from pytest_vllmperf.metrics.units import COUNT, SECONDS
from pytest_vllmperf.records.engine import EngineFacts
from pytest_vllmperf.records.run import RunResult
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.stats import Direction

FACTS = EngineFacts("cpu", None, 128, 100, (), False, {"total": 3.0}, None, None)
NOTHING = Iteration(RunResult((), (), 4, 0, 0, None, None, 1.0))


def plain(kind: MetricClass = MetricClass.LATENCY, **more: object) -> Metric:
    return Metric("it", "it", SECONDS, Direction.LOWER, kind, Clock.ENGINE, "made up", **more)  # type: ignore[arg-type]


def test_the_class_says_how_it_is_judged() -> None:
    exact, tail, load = plain(MetricClass.EXACT), plain(MetricClass.TAIL), plain(MetricClass.LOAD)
    assert (exact.exact, exact.noisy, exact.may_be_zero) == (True, False, True)
    assert (tail.exact, tail.noisy, tail.may_be_zero) == (False, True, False)
    assert [one.kind.least_margin for one in (exact, tail, load, plain())] == [0.0, 0.10, 0.20, 0.0]


@pytest.mark.parametrize(
    ("start", "cold", "counted"),
    [
        (Start.ANY, True, [1.0]),
        (Start.ANY, False, [1.0]),
        (Start.WARM, True, []),
        (Start.WARM, False, [1.0]),
        (Start.COLD, True, [1.0]),
        (Start.COLD, False, []),
    ],
)
def test_only_its_kind_of_start_is_compared(start: Start, cold: bool, counted: list[float]) -> None:
    engine = EngineSamples(cold_start=cold, discarded=0, iterations=1, samples={"it": [1.0]})
    assert plain(start=start).counted(engine) == counted
    assert plain(start=start).decides is (start is not Start.COLD)


def test_too_few_observations_are_counted_by_the_worst_engine() -> None:
    engines = [EngineSamples(discarded=0, iterations=1, samples={}, ttft_by_request=[0.1] * n) for n in (300, 249)]
    assert plain().too_few(engines) == ""
    assert plain(decides_from=250).too_few(engines) == (
        "it needs at least 250 requests to be gated; this workload has 249. Gate it.p50, or send more requests"
    )
    assert plain(decides_from=250).too_few(engines[:1]) == ""


def test_zero_was_observed_only_where_it_is_a_value() -> None:
    assert plain(of=lambda one: 0.0).shown(NOTHING) == {}
    assert plain(of=lambda one: None).shown(NOTHING) == {}
    assert plain(of=lambda one: 0.0, zero=True).shown(NOTHING) == {"it": 0.0}
    assert plain(MetricClass.EXACT, of=lambda one: 0).shown(NOTHING) == {"it": 0.0}


def test_a_value_belongs_to_an_iteration_or_to_a_start() -> None:
    by_iteration, by_start = plain(of=lambda one: one.result.engine_steps), plain(of_start=lambda one: one.cold)
    assert (by_iteration.shown(NOTHING), by_iteration.shown_by_start(EngineStart(FACTS))) == ({"it": 4.0}, {})
    assert (by_start.shown(NOTHING), by_start.shown_by_start(EngineStart(FACTS, cold=True))) == ({}, {"it": 1.0})


def test_an_attribute_is_called_like_its_metric() -> None:
    message = "the metric 'it' is declared as the attribute 'other'"
    with pytest.raises((TypeError, RuntimeError)) as caught:  # Python 3.10 and 3.11 wrap it
        type("Some", (), {"other": plain()})
    assert message in f"{caught.value} {caught.value.__cause__}"
    with pytest.raises((TypeError, RuntimeError)):
        type("Some", (), {"other": DistributionMetrics("ttft", "TTFT", Clock.ENGINE, "made up")})


def test_a_new_metric_is_one_declaration() -> None:
    class Some:
        it_twice = Metric(
            "it.twice", "twice", COUNT, Direction.LOWER, MetricClass.EXACT, Clock.NONE, "made up",
            of=lambda one: 2 * one.result.engine_steps,
        )  # fmt: skip

        def value(self, metric: str) -> float:
            return float(len(metric))

    assert Some().it_twice == 8.0
    assert Some.it_twice.shown(NOTHING) == {"it.twice": 8.0}
