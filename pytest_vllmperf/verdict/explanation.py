"""How a verdict on stored samples came about: the model, each look at it, and the inequalities of the rule.

Nothing is judged here. All numbers come out of `fit` and `look`, on the very samples and settings that the verdict was
made of. That the first clause whose inequalities hold is the status of its look is tested, and not assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from pytest_vllmperf.metrics.declaration import Metric
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.verdict import MetricVerdict, Status
from pytest_vllmperf.stats import (
    ANCHOR_SESSIONS,
    Direction,
    EngineTable,
    FloatArray,
    NoiseModel,
    Prior,
    fit,
    flatten,
    pair_requests,
    tabulate,
)
from pytest_vllmperf.verdict.check import Judged, exact_values
from pytest_vllmperf.verdict.creep import LEAST_SHARE
from pytest_vllmperf.verdict.decision import Case, flatten_engines, log_margins
from pytest_vllmperf.verdict.exact import confirming_engines, judge_exact, sides_of, tolerated
from pytest_vllmperf.verdict.rule import DRIFT_SHARE, STATUSES, Outcome, RuleSettings, look
from pytest_vllmperf.verdict.samples import MetricSamples

ENGINES, STORED_ENGINES, MIN_ENGINES = "engines", "stored engines", "min_engines"
DECLINES: Final = "beyond margin and chance"

# Moved by less than this, log units, is not pulled in but rounded.
_ROUNDING: Final = 1e-12
# Beyond this a change says nothing but that it is absurd, and exp() would overflow.
_LARGEST_LOG: Final = 700.0


@dataclass(frozen=True, slots=True)
class Inequality:
    """One condition of the rule: `left` (`value`) `relation` `right` (`limit`), in log units where no count is meant.

    terms: what `value` is the sum of; empty for a single number.
    """

    left: str
    value: float
    relation: str
    right: str
    limit: float
    holds: bool
    terms: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Clause:
    """A status, and what has to hold for it; of all clauses the first that holds decides."""

    status: Status
    inequalities: tuple[Inequality, ...]

    @property
    def holds(self) -> bool:
        """Whether all of its inequalities hold."""
        return all(one.holds for one in self.inequalities)


@dataclass(frozen=True, slots=True)
class CreepAnswer:
    """A question about creeping. question: trend or recent. loss, and the reach that it is not beyond by chance."""

    question: str
    loss: float
    reach: float


@dataclass(frozen=True, slots=True)
class Look:
    """One look, after so many new engines; log units, larger is worse.

    status: what it found. difference: d, new engines minus level. change: the same as a fraction of the level, negative
    is "less". fail_reach: q(1 - a_fail). pass_reach: q(1 - a_pass). jump: of the new session against the three before
    it. before: of those against the level. creep: the questions that were asked. clauses: in the order of the rule.
    """

    engines: int
    status: Status
    difference: float
    change: float
    fail_reach: float
    pass_reach: float
    jump: float
    before: float
    creep: tuple[CreepAnswer, ...]
    clauses: tuple[Clause, ...]

    @property
    def decided_by(self) -> Clause | None:
        """The clause that decided; None for a look that left it open."""
        return next((clause for clause in self.clauses if clause.holds), None)


@dataclass(frozen=True, slots=True)
class ModelUsed:
    """The noise model. What is called `log` is in log units, larger is worse; the rest in the metric's unit.

    Where requests are paired, a level is a factor of the request's reference.

    layout: engines per session. engines_log: values of the stored engines, by session. new_log: of the new ones.
    sessions_log, sessions: level of each stored session. level_log, level: of the first `anchor` sessions.
    sessions_pulled_log: by how much each session's level moved as wild engines were pulled in. level_pulled_log: the
    same of the level and wild sessions. multimodal: the engines come in groups; nothing is pulled in then. gap:
    position of the first session after sessions that are not stored any more, and how many. session_sd, engine_sd:
    standard deviations believed.
    """

    layout: tuple[int, ...]
    engines_log: tuple[tuple[float, ...], ...]
    new_log: tuple[float, ...]
    sessions_log: tuple[float, ...]
    sessions: tuple[float, ...]
    sessions_pulled_log: tuple[float, ...]
    anchor: int
    level_log: float
    level: float
    level_pulled_log: float
    multimodal: bool
    gap: tuple[int, int] | None
    session_sd: float
    engine_sd: float


@dataclass(frozen=True, slots=True)
class ExactUsed:
    """An exact metric. low, high: what is tolerated, the stored range widened by the margin.

    stored, new: one value for each engine. looks: status after one, two, ... new engines. below, within, above: how
    many of the new engines lie there.
    """

    stored: tuple[float, ...]
    new: tuple[float, ...]
    low: float
    high: float
    looks: tuple[Status, ...]
    below: int
    within: int
    above: int


@dataclass(frozen=True, slots=True)
class Budget:
    """Error probabilities, one-sided.

    a_fail: of a false REGRESSED, each look. a_drift: of each question about creeping. a_pass: of a wrong OK at the
    margin.
    """

    a_fail: float
    a_drift: float
    a_pass: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """How the verdict on one metric came about.

    status: of the verdict. That of the last look may be UNDECIDED: no further engine comes, and it was made NOISY, or
    REGRESSED where d is beyond margin and noise though too few engines show it.
    reason: why it could not be judged. paired: requests were compared one by one. margin: as set, a fraction.
    log_margin: M; infinite where no change can be as large. Without a model the metric is exact, or was not judged.
    """

    metric: str
    status: Status
    reason: str
    paired: bool
    margin: float
    log_margin: float | None = None
    min_engines: int | None = None
    max_engines: int | None = None
    budget: Budget | None = None
    prior: Prior | None = None
    model: ModelUsed | None = None
    looks: tuple[Look, ...] = ()
    exact: ExactUsed | None = None


@dataclass(frozen=True, slots=True)
class Basis:
    """What the verdicts on the checks of a file rest on together.

    version: of this package. checks: judged together. gated_metrics: of them all, without exact ones; a_fail: of each
    metric and look, as so many are gated. fitted_on: what the hyperparameters were fitted on, where `whole_profile` the
    folder of a profile, else a file.
    """

    version: str
    checks: int
    gated_metrics: int
    a_fail: float
    fitted_on: str
    whole_profile: bool


def explain(judged: Judged) -> dict[str, Explanation]:
    """Explain the verdict on every gated metric, by name; of a check that was judged by its stored baseline."""
    return {one.metric: _explained(one, judged) for one in judged.verdict.metrics}


def _explained(one: MetricVerdict, judged: Judged) -> Explanation:
    if one.metric in judged.paired:
        return _looked_at(one, judged.paired[one.metric], paired=True)
    if one.metric in judged.cases:
        return _looked_at(one, judged.cases[one.metric], paired=False)
    exact = judged.exact.get(one.metric)
    found = None if exact is None else _exact(METRICS[one.metric], exact, one.margin)
    return Explanation(one.metric, one.status, one.reason, one.paired, one.margin, exact=found)


def _looked_at(one: MetricVerdict, case: Case, *, paired: bool) -> Explanation:
    settings, (table, new) = case.settings, _values(case, paired=paired)
    model = fit(table, settings.prior, case.gap)
    margin = log_margins([case.direction], settings)
    outcomes = [look(model, new[:, :count], margin, settings) for count in range(1, new.shape[1] + 1)]
    return Explanation(
        metric=one.metric,
        status=one.status,
        reason=one.reason,
        paired=paired,
        margin=settings.margin,
        log_margin=float(margin[0]),
        min_engines=settings.min_engines,
        max_engines=settings.max_engines,
        budget=Budget(settings.a_fail, settings.a_fail * DRIFT_SHARE, settings.a_pass),
        prior=settings.prior,
        model=_model(model, table, new, case.direction),
        looks=tuple(_look(_Seen(found, count, model, case), margin[0]) for count, found in enumerate(outcomes, 1)),
    )


def _values(case: Case, *, paired: bool) -> tuple[EngineTable, FloatArray]:
    """Engine values of both sides."""
    if paired:
        found = pair_requests(case.baseline, case.new, case.direction, case.metric)
        return found.baseline, found.new
    stored = flatten(case.baseline, f"{case.metric} (baseline)")
    new = flatten_engines(case.new, f"{case.metric} (new)")
    return tabulate([stored], [case.direction]), tabulate([new], [case.direction]).values


def _model(model: NoiseModel, table: EngineTable, new: FloatArray, direction: Direction) -> ModelUsed:
    ends = np.cumsum(model.layout)
    engines = np.split(table.values[0], ends[:-1])
    levels, centre, anchor = model.sessions_at[0], float(model.centre[0]), min(model.sessions, ANCHOR_SESSIONS)
    pulled = levels - np.array([values.mean() for values in engines])
    return ModelUsed(
        layout=model.layout,
        engines_log=tuple(tuple(map(float, values)) for values in engines),
        new_log=tuple(map(float, new[0])),
        sessions_log=tuple(map(float, levels)),
        sessions=tuple(_in_unit(level, direction) for level in levels),
        sessions_pulled_log=tuple(map(_moved, pulled)),
        anchor=anchor,
        level_log=centre,
        level=_in_unit(centre, direction),
        level_pulled_log=_moved(centre - levels[:anchor].mean()),
        multimodal=bool(model.multimodal[0]),
        gap=model.gap,
        session_sd=float(model.session_sd[0]),
        engine_sd=float(model.engine_sd[0]),
    )


def _in_unit(log: float, direction: Direction) -> float:
    return math.exp(min(direction.sign * float(log), _LARGEST_LOG))


def _moved(by: float) -> float:
    return float(by) if abs(by) > _ROUNDING else 0.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one look found, after `count` new engines, of a single metric."""

    outcome: Outcome
    count: int
    model: NoiseModel
    case: Case

    @property
    def settings(self) -> RuleSettings:
        return self.case.settings


def _look(seen: _Seen, margin: float) -> Look:
    outcome, difference = seen.outcome, float(seen.outcome.difference[0])
    crept = outcome.crept
    return Look(
        engines=seen.count,
        status=STATUSES[outcome.codes[0]],
        difference=difference,
        change=math.expm1(min(seen.case.direction.sign * difference, _LARGEST_LOG)),
        fail_reach=float(outcome.fail_reach[0]),
        pass_reach=float(outcome.pass_reach[0]),
        jump=float(crept.jump[0]),
        before=float(crept.before[0]),
        creep=tuple(CreepAnswer(one.question, float(one.loss[0]), float(one.reach[0])) for one in crept.answers),
        clauses=_clauses(seen, float(margin)),
    )


def _clauses(seen: _Seen, margin: float) -> tuple[Clause, ...]:
    """The rule of `look`, inequality by inequality."""
    outcome, settings = seen.outcome, seen.settings
    d, reach = float(outcome.difference[0]), float(outcome.fail_reach[0])
    fail, passed = quantile(settings.a_fail), quantile(settings.a_pass)
    enough = _enough(seen)
    worse = (_above("d", d, "M", margin), _above("d", d, fail, reach))
    better = (_below("d", d, "-M", -margin), _below("d", d, f"-{fail}", -reach))
    terms = (d, float(outcome.pass_reach[0]))
    fine = [replace(_below(f"d + {passed}", sum(terms), "M", margin), terms=terms)]
    if outcome.crept.answers:
        fine.append(_below(DECLINES, float(outcome.crept.found[0]), "1", 1.0))
    return (
        *(Clause(Status.DRIFTED, (enough, *drifted)) for drifted in _drifted(seen, margin, worse)),
        Clause(Status.REGRESSED, (enough, *worse)),
        Clause(Status.IMPROVED, (enough, *better)),
        Clause(Status.OK, tuple(fine)),
    )


def _drifted(seen: _Seen, margin: float, worse: tuple[Inequality, ...]) -> list[tuple[Inequality, ...]]:
    """A decline by one of the questions, or a loss most of which was there before; each in small steps."""
    crept, d = seen.outcome.crept, float(seen.outcome.difference[0])
    jump, before = float(crept.jump[0]), float(crept.before[0])
    small = Inequality("jump", jump, "<=", "M", margin, jump <= margin)
    far = _above("d", d, f"{LEAST_SHARE:g} M", LEAST_SHARE * margin)
    chance = quantile(seen.settings.a_fail * DRIFT_SHARE)
    found: list[tuple[Inequality, ...]] = []
    for one in crept.answers:
        name, loss = f"{one.question} loss", float(one.loss[0])
        found.append((_above(name, loss, "M", margin), _above(name, loss, chance, float(one.reach[0])), far, small))
    if crept.answers:
        found.append((*worse, small, _above("before", before, "d / 2", d / 2)))
    return found


def _enough(seen: _Seen) -> Inequality:
    few, count = seen.model.engines < seen.count, min(seen.count, seen.model.engines)
    wanted = seen.settings.min_engines
    return Inequality(STORED_ENGINES if few else ENGINES, count, ">=", MIN_ENGINES, wanted, count >= wanted)


def _above(left: str, value: float, right: str, limit: float) -> Inequality:
    return Inequality(left, value, ">", right, limit, value > limit)


def _below(left: str, value: float, right: str, limit: float) -> Inequality:
    return Inequality(left, value, "<", right, limit, value < limit)


def quantile(chance: float) -> str:
    """What is called q at 1 - chance: `q(0.995)`."""
    return f"q({1 - chance:.6g})"


def _exact(metric: Metric, samples: MetricSamples, margin: float) -> ExactUsed:
    stored, new = exact_values(samples)
    low, high = tolerated(stored, margin)
    sides, confirming = sides_of(stored, new, margin), confirming_engines(metric)
    counts = range(1, len(new) + 1)
    looks = [judge_exact(metric.better, stored, new[:count], margin, confirming).status for count in counts]
    return ExactUsed(
        tuple(stored), tuple(new), low, high, tuple(looks), sides.count(-1), sides.count(0), sides.count(1)
    )
