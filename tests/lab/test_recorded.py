"""What a test records of a measurement: of each engine start, of the reference, and of engines to come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.lab.recorded import Recording, checked, evaluated, recorded
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.validation import check_engine
from pytest_vllmperf.records.custom import Declared
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.stats import Direction
from tests.lab.test_promised import FAST, SLOW, measured

FINISHED = Declared("finished", "", Direction.HIGHER)
EXACT = Declared("builds", "", Direction.LOWER, exact=True)


def finished(run: Measurement) -> float:
    [[one]] = run.iterations
    return float(len(one.requests))


def values(engines: tuple[EngineSamples, ...], metric: Declared = FINISHED) -> list[list[float]]:
    return [engine.values(metric.key) for engine in engines]


def test_a_function_is_called_for_each_engine_start_alone() -> None:
    run = replace(
        measured(FAST),
        engines=measured().engines * 2,
        iterations=(*measured(FAST).iterations, *measured(FAST, SLOW).iterations),
    )
    found = evaluated(run, Recording(FINISHED, finished))
    assert values(found.engines) == [[1], [2]]
    assert found.value(FINISHED.key) == 1.5


def test_the_engines_to_come_have_it_too() -> None:
    found = evaluated(measured(FAST), Recording(FINISHED, finished))
    assert isinstance(found.made_with, Take)
    later = recorded(measured(FAST, SLOW), found.made_with.recordings)
    assert values(later.engines) == [[2]]


def test_a_reference_has_its_own() -> None:
    found = evaluated(measured(FAST, reference=(FAST, SLOW)), Recording(FINISHED, finished))
    assert found.reference is not None
    assert values(found.engines) == [[1]]
    assert values(found.reference.engines) == [[2]]
    assert isinstance(found.made_with, Take)
    assert [one.metric for one in found.made_with.recordings] == [FINISHED]  # rounds to come have it, too


def test_values_belong_to_the_run_and_stand_at_its_first_engine() -> None:
    run = replace(measured(FAST), engines=measured().engines * 2)
    found = evaluated(run, Recording(FINISHED, values=(3.0, 4.0)))
    assert values(found.engines) == [[3, 4], []]
    assert found.made_with is run.made_with


def test_a_void_measurement_is_not_asked() -> None:
    run = replace(measured(FAST), problems=(Problem("tokens", "one is missing"),))
    found = evaluated(run, Recording(FINISHED, lambda _: 1 / 0))
    assert found.problems == run.problems
    assert found.engines[0].recorded == {FINISHED.key: []}


def test_an_error_of_the_function_is_the_tests_own_and_later_one_line() -> None:
    with pytest.raises(ZeroDivisionError):
        evaluated(measured(FAST), Recording(FINISHED, lambda _: 1 / 0))
    with pytest.raises(SpecError, match=r"record\('finished'\): its function failed on a later engine start: ZeroDiv"):
        recorded(measured(FAST), [Recording(FINISHED, lambda _: 1 / 0)])
    with pytest.raises(SpecError, match=r"record\('finished'\): -1.0 is negative"):
        recorded(measured(FAST), [Recording(FINISHED, lambda _: -1)])


@pytest.mark.parametrize(
    "given", [2, 2.0, [2], (2.0,), np.float32(2), np.int64(2), np.array([2.0]), np.array(2.0)[()]], ids=repr
)
def test_numbers_of_any_kind(given: object) -> None:
    assert checked(FINISHED, given) == [2.0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (float("nan"), "nan is not a finite number"),
        (float("inf"), "inf is not a finite number"),
        ([1, float("nan")], "nan is not a finite number"),
        (-1, "-1.0 is negative"),
        (0, "0.0 has no ratio to a baseline. If noise does not move the metric, declare it with exact=True"),
        (1e31, "is out of range"),
        (1e-31, "is out of range"),
        (True, "True is not a number"),
        (False, "False is not a number"),
        (10**400, "is too large"),
        (None, "None is not a number"),
        ("5", "'5' is not a number"),
        ([], "no values"),
        ([[1]], r"\[1\] is not a number"),
        (np.ones((2, 2)), "is not a number"),
        ([1] * 10_001, "10,001 values, and at most 10,000 are stored"),
        ("x" * 500, "x{40,}.* is not a number"),
    ],
)
def test_values_that_are_not_valid(given: object, words: str) -> None:
    with pytest.raises(SpecError, match=f"record\\('finished'\\): .*{words}") as caught:
        checked(FINISHED, given)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_an_exact_metric_may_be_zero() -> None:
    assert checked(EXACT, 0) == [0.0]
    with pytest.raises(SpecError, match="is negative"):
        checked(EXACT, -1)


@given(st.lists(st.floats() | st.integers(-5, 5), min_size=1, max_size=5), st.sampled_from([FINISHED, EXACT]))
def test_what_is_accepted_can_be_stored(given: list[float], metric: Declared) -> None:
    try:
        found = checked(metric, given)
    except SpecError:
        return
    check_engine(EngineSamples(discarded=0, iterations=1, samples={}, recorded={metric.key: found}))
