"""Measuring on behalf of tests, with simulated engines."""

from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.errors import EngineDiedError, EngineStartError, WorkloadError
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.pair import Pair
from pytest_vllmperf.lab.sharing import Sharing, Way
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.validity import rules as validity
from pytest_vllmperf.validity.rules import Expected
from pytest_vllmperf.workload import Workload
from tests.lab.conftest import Told

WORKLOAD = Workload.synthetic(requests=4, input_tokens=8, output_tokens=5, concurrency=2)
ONCE = MeasureSettings(warmup=1, iterations=2)


def simulated(model: str = "m", **script: Any) -> Target:
    return Target(EngineSpec.create(model, backend="simulated", **script))


def pair(session: Lab, a: Target, b: Target, way: Way = Way.RESIDENT) -> Pair:
    return Pair(session, Sharing(way, (a, b)), WORKLOAD, ONCE)


def test_a_measurement_is_complete(session: Lab) -> None:
    run = session.measure(simulated(step_seconds=0.5, prefill_seconds_per_token=0), WORKLOAD, ONCE)
    assert (run.profile, run.device, run.problems) == ("simulated", "simulated", ())
    assert run.spec_label == "m prefill_seconds_per_token=0 step_seconds=0.5"
    assert run.workload == WORKLOAD.describe()
    assert run.environment.hard["workload"] == WORKLOAD.key
    assert run.environment.hard["model"] == "m"
    assert [len(values) for values in run.samples("tpot.p50")] == [2]
    assert run.tpot.p50 == pytest.approx(0.5)
    assert run.engines[0].warmup["tpot.p50"] == pytest.approx([0.5])
    assert run.engine_steps == 10  # four requests, two at a time, five tokens each


def test_only_the_first_start_of_an_engine_is_cold(session: Lab) -> None:
    target = simulated(load_seconds=3.0)
    runs = []
    for _ in range(2):
        runs.append(session.measure(target, WORKLOAD, ONCE).engines[0])
        session.retire([target])
    assert [run.cold_start for run in runs] == [True, False]
    assert ["load_time.cold" in run.once for run in runs] == [True, False]


def test_one_engine_serves_many_measurements(session: Lab, starts: list[str]) -> None:
    for _ in range(3):
        session.measure(simulated(), WORKLOAD, ONCE)
    assert len(starts) == 1
    session.measure(simulated(step_seconds=0.5), WORKLOAD, ONCE)
    assert len(starts) == 2


def test_the_person_is_told_what_is_going_on(session: Lab, told: Told) -> None:
    session.measure(simulated("org/llama"), WORKLOAD, ONCE)
    assert told == ["llama: warm-up 1/1", "llama: iteration 1/2", "llama: iteration 2/2"]


def test_output_of_another_length_is_a_problem_unless_the_end_token_counts(session: Lab) -> None:
    short = simulated(fail="short")
    assert "4 output tokens instead of 5" in session.measure(short, WORKLOAD, ONCE).problems[0].words
    free = Workload.prompts(["hello world"], output_tokens=5, ignore_eos=False)
    assert session.measure(short, free, ONCE).problems == ()


@pytest.mark.parametrize(
    ("workload", "expected"),
    [
        (WORKLOAD, Expected(exact_length=True, fresh_prompts=True)),
        (Workload.prompts(["one two"], output_tokens=2), Expected(exact_length=True)),
        (Workload.prompts(["one two"], output_tokens=2, ignore_eos=False), Expected()),
        (
            Workload.synthetic(requests=1, input_tokens=8, output_tokens=2, shared_prefix_tokens=4),
            Expected(exact_length=True),
        ),
    ],
)
def test_what_is_expected_of_requests_follows_from_the_workload(
    session: Lab, monkeypatch: pytest.MonkeyPatch, workload: Workload, expected: Expected
) -> None:
    asked: list[Expected] = []
    monkeypatch.setattr(validity, "problems", lambda run, wanted, observed, allowed: asked.append(wanted) or ())
    session.measure(simulated(), workload, ONCE)
    assert asked == [expected]


def test_an_engine_that_died_is_replaced(session: Lab, starts: list[str]) -> None:
    for started in (1, 2):
        with pytest.raises(EngineDiedError):
            session.measure(simulated(fail="run"), WORKLOAD, ONCE)
        assert len(starts) == started


def test_a_workload_that_does_not_fit_costs_no_engine(session: Lab, starts: list[str]) -> None:
    target = simulated(max_model_len=13)
    session.measure(target, WORKLOAD, ONCE)
    with pytest.raises(WorkloadError, match="does not fit m"):
        session.measure(target, Workload.synthetic(requests=1, input_tokens=9, output_tokens=5), ONCE)
    session.measure(target, WORKLOAD, ONCE)
    assert len(starts) == 1


def test_an_engine_that_does_not_start_leaves_the_session_usable(session: Lab) -> None:
    with pytest.raises(EngineStartError):
        session.measure(simulated(fail="load"), WORKLOAD, ONCE)
    assert session.measure(simulated(), WORKLOAD, ONCE).problems == ()


def test_two_engines_are_measured_in_turns(session: Lab, starts: list[str]) -> None:
    slow, fast = simulated(step_seconds=0.2), simulated(step_seconds=0.1)
    a, b = pair(session, slow, fast).measure_round()
    assert len(starts) == 2
    assert a.tpot.p50 == pytest.approx(2 * b.tpot.p50)
    assert [len(side.samples("tpot.p50")[0]) for side in (a, b)] == [2, 2]


def test_when_one_of_two_dies_both_are_replaced(session: Lab, starts: list[str]) -> None:
    good, bad = simulated(), simulated(fail="run")
    with pytest.raises(EngineDiedError):
        pair(session, good, bad).measure_round()
    session.measure(good, WORKLOAD, ONCE)
    assert len(starts) == 3


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(("engines", "most", "told_most"), [(3, 6, 6), (8, 6, 8)])
def test_a_person_is_told_which_start_of_how_many(
    tmp_path: Path, told: Told, nvml: object, live: bool, engines: int, most: int, told_most: int
) -> None:
    settings = Settings(Update.NONE, tmp_path, DEFAULTS, 30.0, 20.0, engines=engines, max_engines=most)
    opened = Lab(settings, told, live=lambda: live)
    try:
        for _ in range(2):
            opened.measure(simulated(), WORKLOAD, ONCE)
            opened.retire([simulated()])
    finally:
        opened.close()
    begin = [line for line in told if line.endswith("iteration 1/2")]
    assert begin == ["m: iteration 1/2", f"m (engine start 2 of at most {told_most}): iteration 1/2"]
