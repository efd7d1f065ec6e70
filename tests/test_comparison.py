"""Assertions about two engines that ask for more rounds, with scripted rounds and a fake clock."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_vllmperf.comparison import EngineComparison
from pytest_vllmperf.errors import NotMeasuredError, SpecError
from pytest_vllmperf.metrics.records import EngineSamples, Environment, Measurement

METRIC = "output_throughput"


class Rounds:
    """Rounds of two engines, the first of them `ratio` times as fast."""

    def __init__(self, ratio: float, seconds: float = 1.0, problems: tuple[str, ...] = ()) -> None:
        self.ratio = ratio
        self.seconds = seconds
        self.problems = problems
        self.now = 0.0
        self.made = 0

    def __call__(self) -> tuple[Measurement, Measurement]:
        self.made += 1
        self.now += self.seconds
        return self._side(100 * self.ratio, 2 * self.made), self._side(100.0, 2 * self.made + 1)

    def _side(self, level: float, seed: int) -> Measurement:
        noise = np.exp(np.random.default_rng(seed).normal(0, 0.01, 10))
        samples = {METRIC: (level * noise).tolist(), "preemptions": [0.0] * 10}
        engine = EngineSamples(discarded=0, iterations=10, samples=samples)
        return Measurement("m", "cuda", "h200", {}, Environment(hard={}, soft={}), (engine,), self.problems)

    def compared(self, max_rounds: int = 6, max_time: float = 1000.0) -> EngineComparison:
        return EngineComparison(self, max_rounds, max_time, lambda: self.now)


def test_what_one_round_shows_takes_no_more() -> None:
    rounds = Rounds(3.0)
    found = rounds.compared().assert_speedup(2)
    assert (found.rounds, rounds.made) == (1, 1)
    assert found.low > 2


def test_what_one_round_refutes_takes_no_more() -> None:
    rounds = Rounds(1.5)
    with pytest.raises(pytest.fail.Exception, match=r"^REFUTED output throughput"):
        rounds.compared().assert_speedup(2)
    assert rounds.made == 1


def test_rounds_follow_until_it_is_decided() -> None:
    rounds = Rounds(1.1)
    found = rounds.compared().assert_speedup(1.04)
    assert 1 < found.rounds == rounds.made <= 6


def test_rounds_are_kept_for_the_next_assertion() -> None:
    rounds = Rounds(1.1)
    compared = rounds.compared()
    compared.assert_speedup(1.04)
    made = rounds.made
    compared.assert_not_slower(0.05)
    assert rounds.made == made == len(compared.a.engines) == len(compared.b.engines)


@pytest.mark.parametrize(("max_rounds", "max_time", "made"), [(1, 1000.0, 1), (4, 1000.0, 4), (6, 0.0, 1), (6, 2.5, 3)])
def test_rounds_end(max_rounds: int, max_time: float, made: int) -> None:
    rounds = Rounds(1.1)
    with pytest.raises(pytest.fail.Exception, match="INCONCLUSIVE"):
        rounds.compared(max_rounds, max_time).assert_speedup(1.1)
    assert rounds.made == made


def test_of_a_latency_the_ratio_is_the_other_way_round() -> None:
    rounds = Rounds(2.0)
    compared = rounds.compared()
    for side in (compared.a, compared.b):
        side.engines[0].samples["tpot.p50"] = [1 / x for x in side.engines[0].samples[METRIC]]
    assert compared.speedup("tpot.p50").ratio == pytest.approx(2.0, rel=0.02)


def test_metrics_without_a_ratio_are_refused() -> None:
    compared = Rounds(2.0).compared()
    for metric, words in (
        ("speed", "no metric is called 'speed'"),
        ("tpot.p50", "TPOT p50 was not measured on both engines"),
        ("preemptions", "preemptions has a sample of zero"),
    ):
        with pytest.raises(NotMeasuredError, match=words):
            compared.assert_speedup(1, metric)


@pytest.mark.parametrize("ratio", [0, -1, float("nan"), float("inf")])
def test_a_ratio_that_cannot_be_meant(ratio: float) -> None:
    with pytest.raises(SpecError, match="assert_speedup: ratio must be a positive number"):
        Rounds(2.0).compared().assert_speedup(ratio)


@pytest.mark.parametrize("margin", [-0.1, 1, float("nan")])
def test_a_margin_that_cannot_be_meant(margin: float) -> None:
    with pytest.raises(SpecError, match="assert_not_slower: margin must be at least 0 and below 1"):
        Rounds(2.0).compared().assert_not_slower(margin)


def test_a_void_round_fails_at_once() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"^INVALID  m: a request failed$"):
        Rounds(2.0, problems=("a request failed",)).compared()
