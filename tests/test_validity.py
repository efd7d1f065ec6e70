"""What voids a measurement."""

from dataclasses import replace

import pytest

from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.measure import EngineRun, MeasureSettings, measure
from pytest_vllmperf.metrics.records import RequestRecord, RunResult
from pytest_vllmperf.spec import EngineSpec
from pytest_vllmperf.validity import problems
from pytest_vllmperf.workload import Workload

WORKLOAD = Workload.synthetic(requests=3, input_tokens=8, output_tokens=4)


def run(**script: object) -> EngineRun:
    engine = SimulatedEngine(EngineSpec.create("m", backend="simulated", **script))
    return measure(engine, WORKLOAD, MeasureSettings(1, 2), lambda _: None)


def spoiled(sound: EngineRun, iteration: int, request: int, **changed: object) -> EngineRun:
    def spoil(result: RunResult) -> RunResult:
        records: list[RequestRecord] = list(result.requests)
        records[request] = replace(records[request], **changed)  # type: ignore[arg-type]
        return replace(result, requests=tuple(records))

    iterations = [spoil(one) if number == iteration else one for number, one in enumerate(sound.iterations, start=1)]
    return replace(sound, iterations=tuple(iterations))


def test_a_sound_measurement_has_no_problems() -> None:
    assert problems(run(), exact_length=True) == ()


def test_output_that_is_too_short_is_a_problem_only_where_the_length_is_exact() -> None:
    assert problems(run(fail="short"), exact_length=True) == (
        "a request gave 3 output tokens where 4 were asked for (request 0 of iteration 1)",
    )
    assert problems(run(fail="short"), exact_length=False) == ()


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    ("reason", "words"),
    [(None, "a request did not finish"), ("abort", "ended with 'abort'"), ("error", "ended with 'error'")],
)
def test_a_request_that_did_not_come_to_its_end_is_a_problem(exact: bool, reason: str | None, words: str) -> None:
    (found,) = problems(spoiled(run(), 2, 1, finish_reason=reason), exact_length=exact)
    assert words in found
    assert "(request 1 of iteration 2)" in found


def test_the_end_token_is_a_sound_end() -> None:
    stopped = spoiled(run(), 1, 0, finish_reason="stop")
    assert problems(stopped, exact_length=True) == ()
    early = spoiled(run(), 1, 0, finish_reason="stop", output_tokens=1)
    assert problems(early, exact_length=False) == ()
    assert "gave 1 output tokens where 4" in problems(early, exact_length=True)[0]


def test_each_reason_is_told_once_with_its_first_evidence() -> None:
    sound = run()
    twice = spoiled(spoiled(sound, 2, 2, finish_reason=None), 1, 1, finish_reason=None)
    both = spoiled(twice, 2, 0, output_tokens=9)
    assert problems(both, exact_length=True) == (
        "a request did not finish (request 1 of iteration 1)",
        "a request gave 9 output tokens where 4 were asked for (request 0 of iteration 2)",
    )


def test_warm_up_does_not_count() -> None:
    sound = run()
    broken = replace(sound.warmup[0].requests[0], finish_reason=None)
    warm = replace(sound.warmup[0], requests=(broken, *sound.warmup[0].requests[1:]))
    assert problems(replace(sound, warmup=(warm,)), exact_length=True) == ()


def test_requests_are_found_by_their_index_not_their_place() -> None:
    mixed = Workload.synthetic(requests=4, input_tokens=8, output_tokens=(1, 9), seed=3)
    engine = SimulatedEngine(EngineSpec.create("m", backend="simulated"))
    sound = measure(engine, mixed, MeasureSettings(0, 1), lambda _: None)
    turned = replace(sound.iterations[0], requests=sound.iterations[0].requests[::-1])
    assert len({request.output_tokens for request in sound.requests}) > 1
    assert problems(replace(sound, iterations=(turned,)), exact_length=True) == ()
