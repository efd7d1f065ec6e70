"""Verdicts on stored samples: cases in, decision records out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np

from pytest_vllmperf.errors import SampleError
from pytest_vllmperf.records.verdict import Noise, Status
from pytest_vllmperf.stats import (
    Direction,
    Engines,
    EngineTable,
    FlatSamples,
    FloatArray,
    NoiseModel,
    Sessions,
    against_centre,
    detectable_change,
    fit,
    flatten,
    pair_requests,
    predict,
    tabulate,
)
from pytest_vllmperf.verdict.forecast import sessions_to_test
from pytest_vllmperf.verdict.rule import STATUSES, Outcome, RuleSettings, look

# Cases are judged in blocks of this many, which bounds memory.
_BLOCK_CASES: Final = 1024


@dataclass(frozen=True, slots=True)
class Case:
    """One metric to judge.

    baseline: sessions -> engines -> iterations. new: engines -> iterations. All after warm-up, one unit.
    gap: position of the first session after sessions that are not stored any more, and how many those are.
    """

    metric: str
    direction: Direction
    baseline: Sessions
    new: Engines
    settings: RuleSettings = field(default_factory=RuleSettings)
    gap: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with all that a line about it says.

    baseline, value: level before and now, in the metric's unit (where paired by request: relative to the
    request's reference). change, low, high: value / baseline - 1 with its interval, negative is "less".
    confidence: of that interval, 1 - 2 a_fail. margin: as set. engines: new ones used. iterations: of each of
    them, the median. thin_baseline: too few stored engines to ever say REGRESSED or IMPROVED. crept: what the level has
    changed by since the last update, as a fraction; None where the status is not DRIFTED. fail_reach, pass_reach: what
    the difference is not beyond by chance, at 1 - a_fail and at 1 - a_pass, log units.
    """

    metric: str
    direction: Direction
    status: Status
    baseline: float
    value: float
    change: float
    low: float
    high: float
    confidence: float
    margin: float
    engines: int
    iterations: int
    noise: Noise
    thin_baseline: bool
    crept: float | None = None
    fail_reach: float = 0.0
    pass_reach: float = 0.0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Metrics of one layout that are judged together."""

    metrics: Sequence[str]
    directions: Sequence[Direction]
    baseline: EngineTable
    new: FloatArray
    iterations: int
    settings: RuleSettings
    gap: tuple[int, int] | None = None


def judge_case(case: Case) -> Decision:
    """Judge one metric.

    Raises:
        SampleError: a sample that is not a positive finite number, or none; its metric reads
            "NAME (baseline)" or "NAME (new)".
    """
    return judge_cases([case])[0]


def judge_cases(cases: Iterable[Case]) -> list[Decision]:
    """Judge many metrics, in the order given; those of one shape share their array operations.

    Raises:
        SampleError: as for `judge_case`.
    """
    iterator = iter(cases)
    decisions: list[Decision] = []
    while block := list(islice(iterator, _BLOCK_CASES)):
        decisions.extend(_judge_block(block))
    return decisions


def _judge_block(cases: Sequence[Case]) -> list[Decision]:
    flat = [
        (
            flatten(case.baseline, f"{case.metric} (baseline)"),
            flatten_engines(case.new, f"{case.metric} (new)"),
        )
        for case in cases
    ]
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for index, (case, (baseline, new)) in enumerate(zip(cases, flat, strict=True)):
        groups[baseline.shape, new.shape, case.settings, case.gap].append(index)
    decisions: dict[int, Decision] = {}
    for indices in groups.values():
        directions = [cases[index].direction for index in indices]
        batch = _Batch(
            metrics=[cases[index].metric for index in indices],
            directions=directions,
            baseline=tabulate([flat[index][0] for index in indices], directions),
            new=tabulate([flat[index][1] for index in indices], directions).values,
            iterations=flat[indices[0]][1].iterations,
            settings=cases[indices[0]].settings,
            gap=cases[indices[0]].gap,
        )
        decisions.update(zip(indices, _decide(batch), strict=True))
    return [decisions[index] for index in range(len(cases))]


def flatten_engines(engines: Engines, metric: str) -> FlatSamples:
    """Flatten the engines of one session; positions in errors are (engine, iteration).

    Raises:
        SampleError: no engine, an empty one, or a sample that is not a positive finite number.
    """
    try:
        return flatten([engines], metric)
    except SampleError as error:
        problem = "no engines" if error.position == (0,) else error.problem
        raise SampleError(metric, problem, error.position[1:]) from None


def log_margins(directions: Sequence[Direction], settings: RuleSettings) -> FloatArray:
    """The margin of each metric in log units, shape (B,)."""
    margins = {direction: settings.log_margin(direction) for direction in set(directions)}
    return np.array([margins[direction] for direction in directions])


def _decide(batch: _Batch) -> Iterator[Decision]:
    model = fit(batch.baseline, batch.settings.prior, batch.gap)
    outcome = look(model, batch.new, log_margins(batch.directions, batch.settings), batch.settings)
    noises = _noises(model, batch.directions, batch.settings, ahead=False)
    for row, noise in enumerate(noises):
        yield _decision(batch, row, noise, model, outcome)


def _decision(batch: _Batch, row: int, noise: Noise, model: NoiseModel, outcome: Outcome) -> Decision:
    direction, settings = batch.directions[row], batch.settings
    sign, status = direction.sign, STATUSES[outcome.codes[row]]
    difference, reach = float(outcome.difference[row]), float(outcome.fail_reach[row])
    centre = float(model.centre[row])
    ends = sorted(math.expm1(sign * end) for end in (difference - reach, difference + reach))
    return Decision(
        metric=batch.metrics[row],
        direction=direction,
        status=status,
        baseline=math.exp(sign * centre),
        value=math.exp(sign * (centre + difference)),
        change=math.expm1(sign * difference),
        low=ends[0],
        high=ends[1],
        confidence=1 - 2 * settings.a_fail,
        margin=settings.margin,
        engines=batch.new.shape[1],
        iterations=batch.iterations,
        noise=noise,
        thin_baseline=model.engines < settings.min_engines,
        crept=math.expm1(sign * float(outcome.loss[row])) if status is Status.DRIFTED else None,
        fail_reach=reach,
        pass_reach=float(outcome.pass_reach[row]),
    )


def _noises(
    model: NoiseModel, directions: Sequence[Direction], settings: RuleSettings, *, ahead: bool = True
) -> list[Noise]:
    """What each baseline can tell; and, looking ahead, after how many sessions more."""
    margin = log_margins(directions, settings)
    prediction = predict(model.weights, against_centre(model, settings.max_engines))
    detectable = detectable_change(prediction, margin, settings.a_fail, settings.power)
    testable = prediction.reach(1 - settings.a_fail) <= margin
    session_sd, engine_sd = model.session_sd, model.engine_sd
    needed = sessions_to_test(model, margin, settings) if ahead else [None] * len(directions)
    return [
        Noise(
            session_sd=float(session_sd[row]),
            engine_sd=float(engine_sd[row]),
            # A slowdown as a user says it: so much less throughput, so much more latency.
            detectable=abs(math.expm1(direction.sign * detectable[row])),
            testable=bool(testable[row]),
            multimodal=bool(model.multimodal[row]),
            sessions=model.sessions,
            engines=model.engines,
            prior=settings.prior,
            sessions_to_test=needed[row],
        )
        for row, direction in enumerate(directions)
    ]


def assess(
    metric: str,
    direction: Direction,
    baseline: Sessions,
    settings: RuleSettings,
    gap: tuple[int, int] | None = None,
) -> Noise:
    """What a baseline can tell, for when it is recorded: its noise and its smallest detectable change.

    Raises:
        SampleError: as for `judge_case`.
    """
    table = tabulate([flatten(baseline, f"{metric} (baseline)")], [direction])
    return _noises(fit(table, settings.prior, gap), [direction], settings)[0]


def assess_paired(
    metric: str,
    direction: Direction,
    baseline: Sessions,
    settings: RuleSettings,
    gap: tuple[int, int] | None = None,
) -> Noise:
    """The same of a metric whose innermost lists are requests, the same ones in the same order.

    Raises:
        SampleError: as for `judge_paired`.
    """
    paired = pair_requests(baseline, (), direction, metric)
    return _noises(fit(paired.baseline, settings.prior, gap), [direction], settings)[0]


def judge_paired(case: Case) -> Decision:
    """Judge a metric whose innermost lists are requests, the same ones in the same order (TTFT).

    `iterations` of the decision counts requests.

    Raises:
        SampleError: also where engines differ in their number of requests.
    """
    flatten_engines(case.new, f"{case.metric} (new)")  # for the error alone: at least one engine
    paired = pair_requests(case.baseline, case.new, case.direction, case.metric)
    batch = _Batch(
        metrics=[case.metric],
        directions=[case.direction],
        baseline=paired.baseline,
        new=paired.new,
        iterations=paired.requests,
        settings=case.settings,
        gap=case.gap,
    )
    return next(_decide(batch))
