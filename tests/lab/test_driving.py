"""Driving workloads through engines: what is sent, how often, in which order."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import EngineDiedError, WorkloadError
from pytest_vllmperf.lab.driving import measure, measure_in_turns
from pytest_vllmperf.records.engine import Sampling
from pytest_vllmperf.records.run import MeasureSettings, RunResult
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Request, Workload

WORKLOAD = Workload.synthetic(requests=3, input_tokens=8, output_tokens=4, concurrency=2, seed=5, temperature=0.5)


class RecordingEngine(SimulatedEngine):
    """A simulated engine that writes down what it is told, in a book that several may share."""

    def __init__(self, book: list[Any], name: str = "a", **facts: Any) -> None:
        super().__init__(EngineSpec.create(name, backend="simulated"))
        self.book = book
        self.facts = replace(self.facts, **facts)
        self.fails_at: int | None = None
        self.runs = 0
        self.sent: list[tuple[Sequence[Request], Sampling]] = []

    def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
        self.runs += 1
        self.book.append(f"run {self.spec.model}")
        self.sent.append((requests, sampling))
        if self.runs == self.fails_at:
            raise EngineDiedError("gone")
        return super().run(requests, sampling)

    def reset_prefix_cache(self) -> None:
        self.book.append(f"reset {self.spec.model}")


def test_warm_up_is_discarded_and_iterations_are_counted() -> None:
    told: list[str] = []
    engine = RecordingEngine([])
    run = measure(engine, WORKLOAD, MeasureSettings(warmup=2, iterations=3), told.append)
    assert (len(run.warmup), len(run.iterations), engine.runs) == (2, 3, 5)
    assert told == ["warm-up 1/2", "warm-up 2/2", "iteration 1/3", "iteration 2/3", "iteration 3/3"]
    starts = [result.requests[0].queued_ts for result in (*run.warmup, *run.iterations)]
    assert starts == sorted(starts)
    assert run.facts is engine.facts


def test_every_iteration_sends_the_same_requests() -> None:
    engine = RecordingEngine([], vocab_size=50, special_token_ids=(1, 2))
    run = measure(engine, WORKLOAD, MeasureSettings(1, 2), lambda _: None)
    assert [requests for requests, _ in engine.sent] == [WORKLOAD.requests(50, (1, 2))] * 3
    assert run.requests == WORKLOAD.requests(50, (1, 2))
    assert {sampling for _, sampling in engine.sent} == {Sampling(2, True, 0.5, 5)}


def test_without_warm_up_only_counted_iterations_run() -> None:
    run = measure(RecordingEngine([]), WORKLOAD, MeasureSettings(0, 1), lambda _: None)
    assert (len(run.warmup), len(run.iterations)) == (0, 1)


class WarmingEngine(RecordingEngine):
    """Takes the given seconds for its first iterations, and one second for each after them."""

    def __init__(self, *seconds: float) -> None:
        super().__init__([])
        self.seconds = seconds

    def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
        result = super().run(requests, sampling)
        return replace(result, busy_seconds=(*self.seconds, *[1.0] * 20)[self.runs - 1])


@pytest.mark.parametrize(
    ("seconds", "iterations", "discarded"),
    [
        ((), 4, 2),
        ((9.0, 5.0), 4, 2),
        ((9.0, 5.0, 3.0), 4, 3),
        ((9.0, 5.0, 1.0, 1.0, 3.0), 4, 5),
        ((1.0, 1.0, 1.019), 4, 2),
        ((1.0, 1.0, 1.021), 4, 3),
        (tuple(2.0**n for n in range(12)), 4, 8),
        ((9.0, 5.0, 3.0), 1, 2),  # a single iteration agrees with itself
        ((9.0, 5.0, 3.0), 2, 3),
    ],
)
def test_warm_up_by_rule(seconds: tuple[float, ...], iterations: int, discarded: int) -> None:
    engine = WarmingEngine(*seconds)
    run = measure(engine, WORKLOAD, MeasureSettings(iterations=iterations), lambda _: None)
    assert (len(run.warmup), len(run.iterations)) == (discarded, iterations)
    assert engine.runs == discarded + iterations, "what agreed is counted, not thrown away"
    assert [result.busy_seconds for result in run.warmup] == [*seconds, *[1.0] * 20][:discarded]


def test_two_engines_are_warm_when_both_are() -> None:
    engines = (WarmingEngine(9.0, 5.0, 3.0, 2.0), WarmingEngine())
    runs = measure_in_turns(engines, WORKLOAD, MeasureSettings(iterations=4), lambda _: None)
    assert [(len(run.warmup), len(run.iterations)) for run in runs] == [(4, 4)] * 2


def test_a_prefix_cache_is_emptied_before_every_iteration() -> None:
    book: list[Any] = []
    measure(RecordingEngine(book, prefix_caching=True), WORKLOAD, MeasureSettings(1, 2), lambda _: None)
    assert book == ["reset a", "run a"] * 3


def test_without_a_prefix_cache_nothing_is_reset() -> None:
    book: list[Any] = []
    measure(RecordingEngine(book), WORKLOAD, MeasureSettings(1, 1), lambda _: None)
    assert book == ["run a"] * 2


def test_two_engines_take_turns_and_swap_who_goes_first() -> None:
    book: list[Any] = []
    told: list[str] = []
    a, b = RecordingEngine(book, "a"), RecordingEngine(book, "b")
    runs = measure_in_turns((a, b), WORKLOAD, MeasureSettings(1, 3), told.append)
    assert book == [f"run {name}" for name in "abbaabbaab"], "three iterations are raised to four"
    assert told == ["warm-up 1/1", *(f"iteration {number}/4" for number in range(1, 5))]
    assert [(len(run.warmup), len(run.iterations)) for run in runs] == [(1, 4)] * 2
    assert [run.facts for run in runs] == [a.facts, b.facts]


def test_in_turns_each_engine_keeps_its_own_results_in_order() -> None:
    slow = SimulatedEngine(EngineSpec.create("slow", backend="simulated", step_seconds=1.0))
    fast = SimulatedEngine(EngineSpec.create("fast", backend="simulated", step_seconds=0.001))
    first, second = measure_in_turns((slow, fast), WORKLOAD, MeasureSettings(1, 4), lambda _: None)
    assert min(r.busy_seconds for r in first.iterations) > 50 * max(r.busy_seconds for r in second.iterations)
    for run in (first, second):
        starts = [result.requests[0].queued_ts for result in (*run.warmup, *run.iterations)]
        assert starts == sorted(starts)


def test_in_turns_each_engine_gets_tokens_of_its_own_vocabulary() -> None:
    a, b = RecordingEngine([], "a", vocab_size=20), RecordingEngine([], "b", vocab_size=900)
    first, second = measure_in_turns((a, b), WORKLOAD, MeasureSettings(0, 1), lambda _: None)
    assert first.requests == WORKLOAD.requests(20, (0,))
    assert second.requests == WORKLOAD.requests(900, (0,))


def test_a_workload_that_does_not_fit_is_refused_before_anything_is_sent() -> None:
    fitting, small = RecordingEngine([], "fitting", max_model_len=12), RecordingEngine([], "small", max_model_len=11)
    with pytest.raises(WorkloadError) as caught:
        measure(small, WORKLOAD, MeasureSettings(), lambda _: None)
    assert str(caught.value) == (
        "the workload does not fit small: request 0 takes 8 prompt + 4 output tokens, more than max_model_len=11"
    )
    with pytest.raises(WorkloadError, match="does not fit small"):
        measure_in_turns((fitting, small), WORKLOAD, MeasureSettings(), lambda _: None)
    assert (fitting.runs, small.runs) == (0, 0)
    measure(fitting, WORKLOAD, MeasureSettings(0, 1), lambda _: None)
    assert fitting.runs == 1


def test_output_alone_may_be_too_long() -> None:
    engine = RecordingEngine([], max_model_len=16)
    with pytest.raises(WorkloadError, match="0 prompt"):
        measure(engine, Workload.prompts(["hello"], output_tokens=17), MeasureSettings(), lambda _: None)
    assert engine.runs == 0


def test_an_engine_that_fails_on_the_way_ends_the_measurement() -> None:
    engine = RecordingEngine([])
    engine.fails_at = 2
    with pytest.raises(EngineDiedError):
        measure(engine, WORKLOAD, MeasureSettings(1, 3), lambda _: None)
    assert engine.runs == 2


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


@pytest.mark.parametrize(("content", "resets"), [([IMAGE], 3), ([{"type": "text", "text": "a"}], 0)])
def test_images_are_forgotten_before_each_iteration(content: list[Any], resets: int) -> None:
    """Else only the first would encode them, and a slower encoder would pass."""

    class Keeping(RecordingEngine):
        def reset_media_caches(self) -> None:
            self.book.append("forget")

        def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
            return super().run(WORKLOAD.requests(100), sampling)

    engine = Keeping([])
    work = Workload.chat([[{"role": "user", "content": content}]], output_tokens=1)
    measure(engine, work, MeasureSettings(warmup=1, iterations=2), lambda _: None)
    assert engine.book.count("forget") == resets
    before = [now for now, after in zip(engine.book, engine.book[1:], strict=False) if after.startswith("run")]
    assert set(before) == ({"forget"} if resets else set(before) - {"forget"})
