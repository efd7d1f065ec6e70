"""One metric judged by the ratio to a reference, from rounds in which a fresh engine of both was measured in turns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from pytest_vllmperf.metrics.declaration import Metric
from pytest_vllmperf.records.samples import Session
from pytest_vllmperf.records.verdict import Noise
from pytest_vllmperf.stats import (
    BoolArray,
    Direction,
    FloatArray,
    Prior,
    Spread,
    detectable_change,
    engine_sd,
    observe,
    predict,
    tabulate,
)
from pytest_vllmperf.verdict.decision import Decision, flatten_engines, log_margins
from pytest_vllmperf.verdict.pairs import PairModel, fit_pairs, pair_effects
from pytest_vllmperf.verdict.priors import HISTORY_METRICS
from pytest_vllmperf.verdict.rule import STATUSES, RuleSettings, look_at_pairs
from pytest_vllmperf.verdict.samples import Rounds, stored_table

_UNKNOWN_SPREAD: Final = 1.0


def prior_of_rounds(prior: Prior) -> Prior:
    """The hyperparameters for rounds: a profile with little history must not make quiet engines look noisy.

    Without session noise the rounds themselves say most; so the class's own prior counts for less than it does where a
    baseline of one session is judged. Settled by simulation: from 0.25 % to 3 % between engines both errors fall.
    """
    if prior.metrics >= HISTORY_METRICS:
        return prior
    return replace(prior, engine_spread=max(prior.engine_spread, _UNKNOWN_SPREAD))


def judge_rounds(metric: Metric, rounds: Rounds, sessions: Sequence[Session], settings: RuleSettings) -> Decision:
    """Judge one metric by the ratio to a reference; sessions and hosts cancel in it.

    Args:
        metric: the metric.
        rounds: at least one.
        sessions: of its baseline, which say what engines vary by; may be empty.
        settings: margin, error and hyperparameters.

    Raises:
        SampleError: a sample that is not a positive finite number.
    """
    direction, settings = metric.better, replace(settings, prior=prior_of_rounds(settings.prior))
    new, old = (_costs(side, metric, rounds) for side in (rounds.new, rounds.reference))
    differences = _by_request(rounds, direction) if rounds.by_request else new - old
    spread, multimodal = _stored(metric, sessions, settings)
    model = fit_pairs(differences, settings.prior, spread, multimodal)
    outcome = look_at_pairs(model, log_margins([direction], settings), settings)
    difference, reach = float(outcome.difference[0]), float(outcome.fail_reach[0])
    centre, sign = float(np.median(old)), direction.sign
    ends = sorted(math.expm1(sign * end) for end in (difference - reach, difference + reach))
    return Decision(
        metric=metric.name,
        direction=direction,
        status=STATUSES[outcome.codes[0]],
        baseline=math.exp(sign * centre),
        value=math.exp(sign * (centre + difference)),
        change=math.expm1(sign * difference),
        low=ends[0],
        high=ends[1],
        confidence=1 - 2 * settings.a_fail,
        margin=settings.margin,
        engines=model.rounds,
        iterations=sorted(map(len, rounds.new))[(len(rounds.new) - 1) // 2],
        noise=_noise(model, direction, settings, sessions),
        thin_baseline=False,
        fail_reach=reach,
        pass_reach=float(outcome.pass_reach[0]),
    )


def _costs(side: object, metric: Metric, rounds: Rounds) -> FloatArray:
    """Engine values of one side, shape (1, rounds), log units."""
    which = "reference" if side is rounds.reference else "new"
    return tabulate([flatten_engines(side, f"{metric.name} ({which})")], [metric.better]).values  # type: ignore[arg-type]


def _by_request(rounds: Rounds, direction: Direction) -> FloatArray:
    """For each round the median over its requests of the log ratio, shape (1, rounds)."""
    ratios = [
        np.median(np.log(np.array(new) / np.array(old))) for new, old in zip(rounds.new, rounds.reference, strict=True)
    ]
    return direction.sign * np.array([ratios])


def _stored(metric: Metric, sessions: Sequence[Session], settings: RuleSettings) -> tuple[Spread | None, BoolArray]:
    """What the stored engines show, by request where the rounds are, and whether they come in groups."""
    found = stored_table(metric, sessions)
    if found is None:
        return None, np.zeros(1, dtype=np.bool_)
    table, gap = found
    levels, spread = observe(table.values, table.layout, settings.prior, gap)
    return spread, levels.multimodal


def _noise(model: PairModel, direction: Direction, settings: RuleSettings, sessions: Sequence[Session]) -> Noise:
    margin = log_margins([direction], settings)
    prediction = predict(model.weights, pair_effects(settings.max_engines, model.multimodal))
    detectable = float(detectable_change(prediction, margin, settings.a_fail, settings.power)[0])
    testable = bool(prediction.reach(1 - settings.a_fail)[0] <= margin[0])
    return Noise(
        session_sd=0.0,
        engine_sd=float(engine_sd(model.weights)[0]),
        detectable=abs(math.expm1(direction.sign * detectable)),
        testable=testable,
        multimodal=bool(model.multimodal[0]),
        sessions=len(sessions),
        engines=sum(len(session.engines) for session in sessions),
        prior=settings.prior,
        sessions_to_test=len(sessions) if testable else None,
    )
