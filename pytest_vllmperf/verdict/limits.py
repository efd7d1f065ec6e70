"""Absolute limits: whether a metric keeps what a test promises of it, with or without a baseline.

What is judged is the level of this run's engine starts. As with a baseline, an engine's value is the Hodges-Lehmann
estimate of its iterations, and hyperparameters of the metric's class say what engines vary by where few were started.
A level at the limit is neither within nor beyond it: more engines are asked for, and in the end it is NOISY.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from pytest_vllmperf import stats
from pytest_vllmperf.metrics.declaration import Metric
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.verdict import LimitVerdict, Status
from pytest_vllmperf.verdict.decision import flatten_engines
from pytest_vllmperf.verdict.exact import CONFIRMING_ENGINES
from pytest_vllmperf.verdict.in_turns import prior_of_rounds
from pytest_vllmperf.verdict.pairs import PairModel, fit_pairs
from pytest_vllmperf.verdict.settings import VerdictSettings

_ONE_SIDE: Final = math.sqrt(2)
"""`fit_pairs` takes differences of two engines; a distance from a constant has the noise of one."""


def judge_limits(
    settings: VerdictSettings,
    engines: Sequence[EngineSamples],
    previous: Sequence[LimitVerdict] = (),
    *,
    last_look: bool = False,
) -> tuple[LimitVerdict, ...]:
    """Hold each metric that has a limit against it, in the order of the table.

    BEYOND_LIMIT needs three engines whose level lies beyond the limit by more than noise explains, at 1 - a_fail, which
    all limits share; where no more engines come, fewer are enough. OK needs 90 %. A metric that noise does not move,
    and one that is zero, is compared as it is: all engines must be on one side, and two beyond the limit.

    Args:
        settings: the limits, the error budget and the hyperparameters.
        engines: what was measured, one after the other.
        previous: the verdicts after fewer of these engines; one that was OK asks for no more of them.
        last_look: no further engine will come: what is still open is NOISY.
    """
    last = last_look or len(engines) >= settings.max_engines
    kept = {one.metric for one in previous if one.status is Status.OK}
    found = [
        _judged(METRICS[name], settings.limits[name], settings, engines, last or METRICS[name].once)
        for name in METRICS.ordered(settings.limits)
    ]
    return tuple(_settled(one, last=last or METRICS[one.metric].once, was_ok=one.metric in kept) for one in found)


def _settled(one: LimitVerdict, *, last: bool, was_ok: bool) -> LimitVerdict:
    """What is open where no more engines come, or where an earlier look had decided it."""
    if one.status is not Status.UNDECIDED:
        return one
    status = Status.OK if was_ok else Status.NOISY if last else Status.UNDECIDED
    if last and one.now is None:
        status = Status.INVALID
    return LimitVerdict(**{**vars(one), "status": status})


def _judged(
    metric: Metric, limit: float, settings: VerdictSettings, engines: Sequence[EngineSamples], last: bool
) -> LimitVerdict:
    samples = [found for engine in engines if (found := metric.counted(engine))]
    if not samples:
        # Where only starts that do not count have measured it, the next engine may.
        some = any(engine.values(metric.name) for engine in engines)
        return LimitVerdict(metric.name, limit, Status.UNDECIDED if some else Status.INVALID)
    if metric.exact or limit == 0 or min(map(min, samples)) <= 0:
        return _as_it_is(metric, limit, samples, last)
    sign = metric.better.sign
    costs = stats.tabulate([flatten_engines(samples, metric.name)], [metric.better]).values
    rule = settings.rule(metric)
    model = fit_pairs(
        _ONE_SIDE * (costs - sign * math.log(limit)), prior_of_rounds(rule.prior), None, np.zeros(1, dtype=np.bool_)
    )
    noisy = sum(METRICS[name].noisy for name in settings.limits)
    a_fail = rule.a_fail / max(1, noisy)
    beyond, fail_reach = float(model.difference[0]) / _ONE_SIDE, _reach(model, 1 - a_fail)
    ends = sorted(limit * math.exp(sign * end) for end in (beyond - fail_reach, beyond + fail_reach))
    status = Status.UNDECIDED
    if beyond > fail_reach and (last or len(samples) >= rule.min_engines):
        status = Status.BEYOND_LIMIT
    elif beyond + _reach(model, 1 - rule.a_pass) < 0:
        status = Status.OK
    return LimitVerdict(
        metric.name, limit, status, limit * math.exp(sign * beyond), ends[0], ends[1], 1 - 2 * a_fail, len(samples)
    )


def _reach(model: PairModel, probability: float) -> float:
    return float(model.prediction.reach(probability)[0]) / _ONE_SIDE


def _as_it_is(metric: Metric, limit: float, samples: Sequence[Sequence[float]], last: bool) -> LimitVerdict:
    """Values without an interval."""
    values = [stats.center([engine]) for engine in samples]
    beyond = [metric.better.sign * (value - limit) > 0 for value in values]
    status = Status.UNDECIDED
    if not any(beyond):
        status = Status.OK
    elif all(beyond) and (last or len(values) >= CONFIRMING_ENGINES):
        status = Status.BEYOND_LIMIT
    return LimitVerdict(metric.name, limit, status, stats.center(samples), engines=len(samples))


def limit_error(name: str, limit: float) -> str:
    """Why a limit makes no sense for a metric, in words; empty where it does.

    Args:
        name: of the metric.
        limit: finite, at least 0.
    """
    metric = METRICS[name]
    higher = metric.better.sign < 0
    if metric.unit.symbol == "share" and limit > 1:
        return f"{name} is a share: its limit must be at most 1, not {limit:g}"
    if limit == 0 and higher:
        return f"{name} is never below 0: a limit of 0 would always hold"
    if limit == 0 and not metric.may_be_zero:
        return f"{name} is never 0: a limit of 0 would never hold"
    return ""


def in_force(limits: Mapping[str, float | None]) -> dict[str, float]:
    """The limits that hold, without those that were turned off."""
    return {name: limit for name, limit in limits.items() if limit is not None}
