"""Hyperparameters of a profile, from its stored baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pytest_vllmperf.metrics.declaration import MetricClass
from pytest_vllmperf.records.samples import EngineSamples, Session
from pytest_vllmperf.stats import WALL_CLOCK, EngineTable, Spread, grid, observe
from pytest_vllmperf.verdict import VerdictSettings, judge
from pytest_vllmperf.verdict.priors import class_prior, fit_priors, fit_tables
from tests.verdict.samples import THROUGHPUT, TPOT, engines, evidence, of, session

THROUGHPUTS, LATENCIES = MetricClass.THROUGHPUT, MetricClass.LATENCY
QUIET_SESSION, QUIET_ENGINE = 0.002, 0.0025


def history(seed: int, sessions: int, session_sd: float, engine_sd: float, starts: int = 3) -> list[Session]:
    """The baseline of one check: a throughput and two latencies."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(sessions):
        level, made = rng.normal(0, session_sd), []
        for _ in range(starts):
            z = level + rng.normal(0, engine_sd, 3)
            samples = {
                name: [base * float(np.exp(one))] for name, base, one in zip(NAMES, (1000.0, 0.02, 0.4), z, strict=True)
            }
            made.append(EngineSamples(discarded=0, iterations=1, samples=samples))
        found.append(session(made))
    return found


NAMES = (THROUGHPUT, TPOT, "e2e.p50")


def histories(count: int, sessions: int, *, quiet: bool = True) -> list[list[Session]]:
    sds = (QUIET_SESSION, QUIET_ENGINE) if quiet else (0.03, 0.04)
    return [history(seed, sessions, *sds) for seed in range(count)]


def test_a_quiet_profile_is_known_to_be_quiet() -> None:
    found = fit_priors(histories(20, 6))
    assert found[LATENCIES].engine_sd == pytest.approx(QUIET_ENGINE, rel=0.25)
    assert found[LATENCIES].session_sd == pytest.approx(QUIET_SESSION, rel=0.4)
    assert (found[LATENCIES].metrics, found[LATENCIES].sessions) == (40, 6)
    assert (found[THROUGHPUTS].metrics, found[THROUGHPUTS].sessions) == (20, 6)
    loud = fit_priors(histories(20, 6, quiet=False))
    assert loud[LATENCIES].engine_sd == pytest.approx(0.04, rel=0.25)


def test_sessions_keep_the_figures_of_their_class_until_there_are_three() -> None:
    two, three = fit_priors(histories(20, 2))[LATENCIES], fit_priors(histories(20, 3))[LATENCIES]
    assert two.engine_sd < 0.3 * WALL_CLOCK.engine_sd
    assert two.session_sd == class_prior(LATENCIES).session_sd
    assert three.session_sd < 0.6 * WALL_CLOCK.session_sd
    assert (two.sessions, three.sessions) == (2, 3)


def test_one_check_of_three_sessions_does_not_vouch_for_the_sessions_of_all() -> None:
    """Sessions vary by 1 %, as the class says; engines of this profile are quieter than the class says."""
    young = [history(seed, 1, 0.01, QUIET_ENGINE) for seed in range(40)]
    longer = [fit_priors([*young, history(seed, 3, 0.01, QUIET_ENGINE)])[LATENCIES] for seed in range(90, 102)]
    assert {one.sessions for one in longer} == {3}
    assert np.mean([one.session_sd for one in longer]) > 0.85 * WALL_CLOCK.session_sd


def test_a_profile_of_one_test_stays_near_its_class() -> None:
    found = fit_priors([history(1, 5, 0.01, 0.015)])[THROUGHPUTS]
    assert found.metrics == 1
    assert found.engine_sd == pytest.approx(WALL_CLOCK.engine_sd, rel=0.3)
    quiet = fit_priors([history(1, 5, QUIET_SESSION, QUIET_ENGINE)])[THROUGHPUTS]
    assert 0.3 * WALL_CLOCK.engine_sd < quiet.engine_sd < WALL_CLOCK.engine_sd


def test_a_profile_without_baselines_says_nothing() -> None:
    assert fit_priors([]) == {}
    assert fit_priors([[]]) == {}


def test_metrics_that_allow_no_logarithm_are_left_out() -> None:
    def zero(one: EngineSamples) -> EngineSamples:
        return one.model_copy(update={"samples": {**one.samples, THROUGHPUT: [0.0]}})

    mixed = [s.model_copy(update={"engines": [zero(s.engines[0]), *s.engines[1:]]}) for s in history(1, 4, 0.01, 0.015)]
    found = fit_priors([mixed, history(2, 4, 0.01, 0.015)])
    assert found[THROUGHPUTS].metrics == 1
    assert found[LATENCIES].metrics == 4
    assert THROUGHPUTS not in fit_priors([mixed])


def test_waiting_for_other_ranks_says_nothing_of_how_repeatable_gpu_time_is() -> None:
    """The host decides how long ranks wait: by 44 % more or less, where GPU time varies by 0.1 %."""

    def on_gpus(metrics: Sequence[str]) -> list[Session]:
        rng = np.random.default_rng(5)
        drawn = [{"gpu_time": 0.001, "gpu_time.prefill": 0.001, "gpu_time.waiting": 0.44} for _ in range(9)]
        passes = [{name: [float(np.exp(rng.normal(0, sd)))] for name, sd in one.items()} for one in drawn]
        starts = [
            EngineSamples(discarded=0, iterations=1, samples={}, passes={name: one[name] for name in metrics})
            for one in passes
        ]
        return [session(starts)]

    alone = fit_priors([on_gpus(["gpu_time", "gpu_time.prefill"])])
    beside = fit_priors([on_gpus(["gpu_time", "gpu_time.prefill", "gpu_time.waiting"])])
    assert beside[MetricClass.GPU_TIME] == alone[MetricClass.GPU_TIME]


def test_exact_metrics_have_no_noise() -> None:
    counted = [s.model_copy(update={"engines": engines(3)}) for s in history(1, 3, 0.01, 0.015)]
    assert MetricClass.EXACT not in fit_priors([counted])


def paired(seed: int) -> list[Session]:
    """Engines that differ by 0.2 % in every request, and by 20 % in the one request at the median."""
    rng = np.random.default_rng(seed)

    def one() -> EngineSamples:
        times = np.linspace(0.1, 0.4, 64) * np.exp(rng.normal(0, 0.002))
        return EngineSamples(
            discarded=0,
            iterations=1,
            samples={"ttft.p50": [float(0.25 * np.exp(rng.normal(0, 0.2)))]},
            ttft_by_request=times.tolist(),
        )

    return [session([one() for _ in range(3)]) for _ in range(4)]


def test_metrics_that_are_judged_by_request_are_fitted_by_request() -> None:
    found = fit_priors([paired(seed) for seed in range(12)])[LATENCIES]
    assert found.metrics == 12
    assert found.engine_sd < 0.004


def test_sessions_across_a_gap_are_no_neighbours() -> None:
    def with_gap(dropped: int) -> Sequence[Sequence[Session]]:
        found = []
        for seed in range(20):
            before, after = (
                history(seed, 5, QUIET_SESSION, QUIET_ENGINE),
                history(seed + 100, 3, QUIET_SESSION, QUIET_ENGINE),
            )
            slower = [
                s.model_copy(update={"engines": [scaled(e, 1.03) for e in s.engines], "dropped": dropped * (n == 0)})
                for n, s in enumerate(after)
            ]
            found.append([*before, *slower])
        return found

    assert fit_priors(with_gap(9))[LATENCIES].session_sd < 0.6 * fit_priors(with_gap(0))[LATENCIES].session_sd


def scaled(one: EngineSamples, factor: float) -> EngineSamples:
    return one.model_copy(update={"samples": {name: [factor * x for x in of] for name, of in one.samples.items()}})


def test_a_metric_is_judged_by_the_hyperparameters_of_its_profile() -> None:
    priors = fit_priors(histories(20, 6))
    stored = history(50, 3, QUIET_SESSION, QUIET_ENGINE)
    new = [scaled(e, 1.02) for e in history(51, 1, 0.0, QUIET_ENGINE)[0].engines]
    settings = VerdictSettings((TPOT,), 0.01, priors=priors)
    known = of(judge(evidence(new, sessions=stored, settings=settings)), TPOT)
    unknown = of(judge(evidence(new, sessions=stored, settings=replace(settings, priors={}))), TPOT)
    assert known.status.value == "REGRESSED"
    assert unknown.status.value == "UNDECIDED"
    assert known.noise is not None
    assert known.noise.prior == priors[LATENCIES]
    assert unknown.noise is not None
    assert unknown.noise.prior == class_prior(LATENCIES)


def test_metrics_of_several_layouts_are_fitted_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each were observed alone; of more metrics than a fit takes, it takes every so many."""
    monkeypatch.setattr(grid, "_MOST_METRICS", 5)
    rng = np.random.default_rng(1)
    layouts: list[tuple[tuple[int, ...], tuple[int, int] | None]] = [
        ((3, 3, 3), None), ((3, 4), None), ((3, 3, 3), (1, 2)), ((3, 3, 3), None), ((3, 4), None), ((3, 3, 3), (1, 2)),
    ]  # fmt: skip
    tables = []
    for rank, (layout, gap) in enumerate(layouts):
        rows = 1 + rank % 3
        values = rng.normal(0, 0.002 * 3.0**rank, size=(rows, sum(layout)))
        tables.append((EngineTable(values, layout, np.zeros(rows)), gap))
    alone = WALL_CLOCK
    for _ in range(2):
        spreads = [observe(one.values, one.layout, alone, gap)[1] for one, gap in tables]
        together = (np.concatenate([getattr(one, name) for one in spreads]) for name in Spread.__slots__)
        alone = grid.fit_prior(Spread(*together), WALL_CLOCK, sessions=True)
    found = fit_tables(tables, WALL_CLOCK, sessions=True)
    assert found.metrics == 12
    for name in ("engine_sd", "engine_spread", "session_sd", "session_spread", "correlation"):
        assert getattr(found, name) == pytest.approx(getattr(alone, name), rel=1e-9), name
