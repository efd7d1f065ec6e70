"""What the rule makes of GPU time, with its margin and its class's prior: seeded simulations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

from pytest_vllmperf.metrics.declaration import MetricClass
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import EngineSamples, Environment, Session
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.stats import DEVICE_CLOCK, Direction, EngineTable, FlatSamples, FloatArray, Prior, fit, tabulate
from pytest_vllmperf.stats.model import NoiseModel
from pytest_vllmperf.verdict import CODES, Outcome, VerdictSettings, look, outlook, run_course
from pytest_vllmperf.verdict.priors import class_prior, fit_priors, fit_tables
from pytest_vllmperf.verdict.rule import RuleSettings, family_a_fail

GPU_TIME = METRICS["gpu_time"]
GATED = 5
"""The clock's four metrics, and GPU time: the gate of one test."""
ENGINES, PASSES = 3, 3
SD = 0.0015
"""Of engines and of sessions: 0.1 to 0.3 % was seen on an H100."""
IN_PASS = 0.0005


def draw(rng: np.random.Generator, trials: int, sessions: int, engines: int) -> FloatArray:
    """Log GPU time, shape (trials, sessions * engines, PASSES)."""
    levels = rng.normal(0, SD, (trials, sessions, 1)) + rng.normal(0, SD, (trials, sessions, engines))
    return np.asarray(levels.reshape(trials, -1, 1) + rng.normal(0, IN_PASS, (trials, sessions * engines, PASSES)))


def table(cost: FloatArray, layout: Sequence[int]) -> EngineTable:
    shape = tuple((PASSES,) * engines for engines in layout)
    samples = [FlatSamples(row, shape) for row in np.exp(cost).reshape(len(cost), -1)]
    return tabulate(samples, [Direction.LOWER] * len(samples))


def look_after(model: NoiseModel, new: FloatArray, settings: RuleSettings, count: int) -> Outcome:
    margins = np.full(len(new), settings.log_margin(Direction.LOWER))
    return look(model, new[:, :count], margins, settings)


def failed(stored: EngineTable, new: FloatArray, prior: Prior, gated: int) -> FloatArray:
    """Which of the rows fail their test."""
    rule = VerdictSettings(("gpu_time",), a_fail=family_a_fail(gated), priors={MetricClass.GPU_TIME: prior}).rule(
        GPU_TIME
    )
    course = run_course(partial(look_after, fit(stored, prior), new, rule), len(new), rule)
    return np.isin(course.codes, [CODES[Status.REGRESSED], CODES[Status.DRIFTED]])


def share_failed(sessions: int, change: float, trials: int, gated: int = GATED) -> float:
    rng = np.random.default_rng(15)
    stored = table(draw(rng, trials, sessions, ENGINES), (ENGINES,) * sessions)
    new = table(draw(rng, trials, 1, 6) + math.log1p(change), (6,)).values
    return float(failed(stored, new, class_prior(MetricClass.GPU_TIME), gated).mean())


@pytest.mark.parametrize(("sessions", "change"), [(3, 0.015), (1, 0.02)])
def test_small_changes_are_found(sessions: int, change: float) -> None:
    assert share_failed(sessions, change, 4000) >= 0.99


@pytest.mark.parametrize("sessions", [1, 3])
def test_false_alarms_are_rare(sessions: int) -> None:
    assert share_failed(sessions, 0.0, 10_000) <= 0.001


def test_in_a_suite_of_some_tests_too() -> None:
    assert share_failed(1, 0.025, 4000, gated=4 * GATED) >= 0.98
    assert share_failed(3, 0.0175, 4000, gated=4 * GATED) >= 0.98


def test_a_prior_that_was_fitted_on_this_one_test_finds_them_too() -> None:
    """Metrics of one pass are much alike: four of them say as much as one, and the fit takes them for four."""
    rng = np.random.default_rng(16)
    found = []
    for _ in range(60):
        stored = table(draw(rng, 1, 1, ENGINES), (ENGINES,))
        prior = fit_tables([(stored, None)] * 4, DEVICE_CLOCK, sessions=False)
        new = table(draw(rng, 1, 1, 6) + math.log1p(0.02), (6,)).values
        found.append(failed(stored, new, prior, GATED)[0])
    assert sum(found) >= 58


def session(rng: np.random.Generator) -> Session:
    """A session whose kernels take 0.3 s, and whose wall clock is ten times as noisy."""
    levels = 0.3 * np.exp(draw(rng, 1, 1, ENGINES)[0])
    clock = 1000 * np.exp(rng.normal(0, 0.02, (ENGINES, 10)))
    engines = [
        EngineSamples(
            discarded=0,
            iterations=10,
            samples={"output_throughput": wall.tolist()},
            passes={"gpu_time": gpu.tolist(), "gpu_busy": gpu.tolist()},
        )
        for gpu, wall in zip(levels, clock, strict=True)
    ]
    return Session(recorded="", environment=Environment(hard={}, soft={}), engines=engines)


def test_the_smallest_slowdown_that_is_stated_is_that_of_the_gpus_clock() -> None:
    rng = np.random.default_rng(17)
    sessions = [session(rng) for _ in range(3)]
    settings = VerdictSettings(("output_throughput", "gpu_time"), priors=fit_priors([sessions]))
    wall, gpu = outlook(sessions, settings)
    assert (wall.margin, gpu.margin) == (0.05, 0.01)
    assert gpu.noise.testable
    assert 0.010 < gpu.noise.detectable < 0.016
    assert wall.noise.detectable > 0.05


def test_priors_are_fitted_by_class() -> None:
    rng = np.random.default_rng(18)
    found = fit_priors([[session(rng) for _ in range(3)] for _ in range(4)])
    assert found[MetricClass.GPU_TIME].engine_sd == pytest.approx(SD, rel=0.5)
    assert found[MetricClass.GPU_TIME].engine_sd < found[MetricClass.THROUGHPUT].engine_sd / 2
    assert class_prior(MetricClass.GPU_TIME) == DEVICE_CLOCK
    assert class_prior(MetricClass.THROUGHPUT) != DEVICE_CLOCK
