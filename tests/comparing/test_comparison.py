"""Assertions about two engines that ask for more rounds, with scripted rounds and a fake clock."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest

from pytest_vllmperf.comparing.comparison import EngineComparison
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import CheckFailed, NotMeasuredError, SpecError, WorkloadError
from pytest_vllmperf.lab.sharing import Sharing, Way
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.samples import EngineSamples, Environment
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.stats import Prior
from pytest_vllmperf.verdict.priors import Priors
from pytest_vllmperf.workload import Workload

Answer = TypeVar("Answer")
METRIC = "output_throughput"
BUSY, SHORT = Problem("processes", "a busy neighbour"), Problem("length", "cut short")


class Rounds:
    """Rounds of two engines, the first of them `ratio` times as fast."""

    sharing = Sharing(Way.RESIDENT, (Target(EngineSpec.create("a")), Target(EngineSpec.create("b"))))
    workload = Workload.synthetic(requests=2, input_tokens=8, output_tokens=10)

    def __init__(
        self, ratio: float, seconds: float = 1.0, problems: tuple[Problem, ...] = (), deviation: float = 0.0
    ) -> None:
        self.ratio = ratio
        self.seconds = seconds
        self.problems = problems
        self.transient: tuple[bool, ...] = ()
        self.now = 0.0
        self.made = 0
        self.priors: Priors = {}
        deviations = (deviation, 0.0)
        self.engines = [
            SimulatedEngine(EngineSpec.create("m", backend="simulated", deviation=one)) for one in deviations
        ]

    def measure_round(self) -> tuple[Measurement, Measurement]:
        self.made += 1
        self.now += self.seconds
        return self._side(100 * self.ratio, 2 * self.made), self._side(100.0, 2 * self.made + 1)

    def ask(self, side: int, use: Callable[[Engine], Answer]) -> Answer:
        return use(self.engines[side])

    def _side(self, level: float, seed: int) -> Measurement:
        noise = np.exp(np.random.default_rng(seed).normal(0, 0.01, 10))
        samples = {METRIC: (level * noise).tolist(), "preemptions": [0.0] * 10}
        engine = EngineSamples(discarded=0, iterations=10, samples=samples)
        passing = len(self.transient) >= self.made
        problems = self.problems
        if passing:
            problems = (BUSY if self.transient[self.made - 1] else SHORT,)
        return Measurement("m", "cuda", "h200", {}, Environment(hard={}, soft={}), (engine,), problems)

    def compared(self, max_rounds: int = 6, max_time: float = 1000.0) -> EngineComparison:
        return EngineComparison(self, max_rounds, max_time, lambda _: self.priors, lambda: self.now)


def with_history(rounds: Rounds) -> Rounds:
    """The same on a profile whose baselines say that engines vary by 0.5 %."""
    prior = Prior(0.005, 0.2, 0.005, 0.2, 0.001, metrics=20, sessions=5)
    rounds.priors = {METRICS[METRIC].kind: prior}
    return rounds


def test_a_history_decides_after_two_rounds_and_never_after_one() -> None:
    rounds = with_history(Rounds(3.0))
    found = rounds.compared().assert_speedup(2)
    assert (found.rounds, rounds.made, found.from_history) == (2, 2, True)
    assert found.low > 2


def test_a_history_refutes_after_two_rounds() -> None:
    rounds = with_history(Rounds(1.5))
    with pytest.raises(CheckFailed, match=r"^REFUTED output throughput"):
        rounds.compared().assert_speedup(2)
    assert rounds.made == 2


def test_without_a_history_two_rounds_say_too_little_of_what_they_vary_by() -> None:
    rounds = Rounds(3.0)
    found = rounds.compared().assert_speedup(2)
    assert (found.rounds, rounds.made, found.from_history) == (3, 3, False)


def test_a_history_of_few_metrics_is_none() -> None:
    rounds = with_history(Rounds(3.0))
    rounds.priors = {kind: replace(prior, metrics=9) for kind, prior in rounds.priors.items()}
    assert not rounds.compared().speedup().from_history


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


@pytest.mark.parametrize(("max_rounds", "max_time", "made"), [(1, 1000.0, 2), (4, 1000.0, 4), (6, 0.0, 2), (6, 2.5, 4)])
def test_rounds_end(max_rounds: int, max_time: float, made: int) -> None:
    rounds = Rounds(1.1)
    with pytest.raises(CheckFailed, match="INCONCLUSIVE"):
        rounds.compared(max_rounds, max_time).assert_speedup(1.1)
    assert rounds.made == made


def test_of_a_latency_the_ratio_is_the_other_way_round() -> None:
    rounds = Rounds(2.0)
    compared = rounds.compared()
    for side in (compared.a, compared.b):
        for engine in side.engines:
            engine.samples["tpot.p50"] = [1 / x for x in engine.samples[METRIC]]
    assert compared.speedup("tpot.p50").ratio == pytest.approx(2.0, rel=0.02)


def test_metrics_without_a_ratio_are_refused() -> None:
    compared = Rounds(2.0).compared()
    for metric, words in (
        ("speed", "no metric has the name 'speed'"),
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


@pytest.mark.parametrize("value", [None, "2", "", [1.1], True, b"2", {"tpot.p50": 1.1}])
def test_what_is_no_number_is_refused_in_a_line(value: Any) -> None:
    compared = Rounds(2.0).compared()
    with pytest.raises(SpecError, match=r"^assert_speedup: ratio must be a number, not "):
        compared.assert_speedup(value)
    with pytest.raises(SpecError, match=r"^assert_same_quality: agreement must be a number, not "):
        compared.assert_same_quality(agreement=value)
    with pytest.raises(SpecError, match=r"^assert_same_quality: logprob_difference must be a number, not "):
        compared.assert_same_quality(logprob_difference=value)
    if not isinstance(value, str):
        with pytest.raises(SpecError, match=r"^assert_not_slower: margin must be a number, not "):
            compared.assert_not_slower(value)
        with pytest.raises(NotMeasuredError, match="no metric has the name"):
            compared.speedup(value)


@pytest.mark.parametrize("prompts", [3, True, {"role": "user"}, "text", [], iter(["text"])])
def test_prompts_that_are_no_list(prompts: Any) -> None:
    with pytest.raises(WorkloadError, match="prompts must be a list of at least one text or chat"):
        Rounds(2.0).compared().measure_quality(prompts)


@pytest.mark.parametrize("limit", [float("nan"), -0.1])
def test_a_difference_that_cannot_be_meant(limit: float) -> None:
    with pytest.raises(SpecError, match=r"logprob_difference=.* must be at least 0"):
        Rounds(2.0).compared().assert_same_quality(logprob_difference=limit)


def test_a_margin_may_have_a_per_cent_sign() -> None:
    assert Rounds(0.97).compared().assert_not_slower("10%").ratio == pytest.approx(0.97, rel=0.01)
    with pytest.raises(CheckFailed, match=r"at least 0\.99x"):
        Rounds(0.97).compared().assert_not_slower("1 %")
    with pytest.raises(SpecError, match=r'assert_not_slower: 5 is 500 %; write 0\.05 or "5%"'):
        Rounds(0.97).compared().assert_not_slower("5")
    with pytest.raises(SpecError, match="assert_not_slower: margin must be at least 0 and below 1"):
        Rounds(0.97).compared().assert_not_slower("100%")


def test_a_void_round_fails_at_once() -> None:
    with pytest.raises(CheckFailed, match=r"^INVALID  m: cut short \[length\]$"):
        Rounds(2.0, problems=(SHORT,)).compared()


def test_engines_that_say_the_same_pass() -> None:
    found = Rounds(2.0).compared().assert_same_quality()
    assert (found.agreement, found.logprob_difference, found.top1_agreement) == (1.0, 0.0, 1.0)
    assert (found.prompts, found.tokens) == (2, 10)  # as many tokens as the workload has room for


@pytest.mark.parametrize(
    ("prompts", "count", "tokens"),
    [(["one two", "three"], 2, 6), ([[{"role": "user", "content": "hello you"}]], 1, 6), (None, 2, 6)],
)
def test_prompts_of_ones_own(prompts: list[str] | None, count: int, tokens: int) -> None:
    found = Rounds(2.0).compared().measure_quality(prompts, tokens=tokens)
    assert (found.prompts, found.tokens) == (count, tokens)


def test_a_fast_and_wrong_engine_fails() -> None:
    compared = Rounds(9.0, deviation=0.6).compared()
    with pytest.raises(CheckFailed) as caught:
        compared.assert_same_quality()
    lines = str(caught.value).splitlines()
    assert lines[0] == "QUALITY m against m, 2 prompts:"
    assert [line.split(" (")[0].strip() for line in lines[1:]] == [
        "greedy agreement 40.0% of 10 tokens",
        "mean log-probability difference 0.6",
        "top-1 agreement 0.0%",
    ]
    compared.assert_same_quality(agreement=0.4, logprob_difference=0.61, top1_agreement=0.0)


@pytest.mark.parametrize(
    ("prompts", "tokens", "named"),
    [
        ([], 4, "one text or chat"),
        ("hello", 4, "one text or chat"),
        (["a", [{"role": "user", "content": "b"}]], 4, "all texts or all chats"),
        (["a"], 0, "tokens=0"),
        ([""], 4, "non-empty"),
        ([[{"role": "user"}]], 4, "chat 0"),
    ],
)
def test_prompts_that_cannot_be_meant(prompts: list[str], tokens: int, named: str) -> None:
    with pytest.raises(WorkloadError, match=named):
        Rounds(2.0).compared().measure_quality(prompts, tokens=tokens)


def test_chat_templates_that_differ_are_told_with_the_first_token() -> None:
    chats = [[{"role": "user", "content": "hello you"}]]
    Rounds(2.0).compared().assert_same_chat_template(chats)
    with pytest.raises(CheckFailed, match=r"chat 0: token 1 is 5 'hello', the reference has 3 'you'"):
        Rounds(2.0, deviation=0.5).compared().assert_same_chat_template(chats)


def test_what_is_reported_of_a_comparison() -> None:
    compared = Rounds(2.0).compared()
    assert [one.metric for one in compared.record().ratios] == [METRIC]  # even where nothing was asserted
    compared.measure_quality()
    record = compared.record()
    assert (record.a, record.b, record.way) == ("m", "m", "both resident")
    assert record.ratios[0].low < 2 < record.ratios[0].high
    assert record.quality is not None


def test_a_round_that_was_disturbed_is_measured_again_once_and_told() -> None:
    rounds = with_history(Rounds(3.0))
    rounds.transient = (True,)
    compared = rounds.compared()
    assert compared.assert_speedup(2).rounds == 2
    assert (rounds.made, compared.record().excluded) == (3, (BUSY,))


@pytest.mark.parametrize(("transient", "problem"), [((True, True), BUSY), ((False,), SHORT)])
def test_a_round_that_stays_disturbed_fails(transient: tuple[bool, ...], problem: Problem) -> None:
    rounds = Rounds(3.0)
    rounds.transient = transient
    with pytest.raises(CheckFailed, match=f"^INVALID  m: {re.escape(str(problem))}$"):
        rounds.compared()
    assert rounds.made == len(transient)
