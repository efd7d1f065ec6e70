"""One check: all its metrics, each judged as its class asks for, and the worst of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from pytest_vllmperf import stats
from pytest_vllmperf.metrics.declaration import Metric
from pytest_vllmperf.metrics.table import CLOCK_METRICS, METRICS
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.samples import EngineSamples, Session
from pytest_vllmperf.records.verdict import Drift, MetricVerdict, Status, Verdict, worst
from pytest_vllmperf.stats import Direction
from pytest_vllmperf.verdict.decision import Case, Decision, judge_cases, judge_paired
from pytest_vllmperf.verdict.exact import confirming_engines, judge_exact
from pytest_vllmperf.verdict.in_turns import judge_rounds
from pytest_vllmperf.verdict.rule import MIN_ENGINES
from pytest_vllmperf.verdict.samples import (
    MetricSamples,
    left_out_of_some,
    metric_samples,
    paired_samples,
    round_samples,
)
from pytest_vllmperf.verdict.settings import VerdictSettings

_ZERO = "a sample is zero, but this metric is judged by a ratio"
_WORSE = (Status.REGRESSED, Status.DRIFTED)


@dataclass(frozen=True)
class Evidence:
    """What one check is judged by.

    Attributes:
        sessions: what the baseline holds; empty when there is none.
        engines: what was measured now, one after the other; at least one.
        settings: gate and margins.
        problems: why the measurement is void.
        differences: hard keys in which the environments differ, in words.
        previous: the verdict after fewer of these engines; what it decided stays decided.
        last_look: no further engine will come: what is still open is NOISY.
        reference: engines of the reference interpreter, each measured in turns with the new one at the same place;
            empty where the check is judged by its stored baseline. The metrics are then judged on the ratio; the stored
            sessions, where there are any, only say what engines vary by.
        against: what the reference is called in the report.
    """

    sessions: Sequence[Session]
    engines: Sequence[EngineSamples]
    settings: VerdictSettings
    problems: Sequence[Problem] = ()
    differences: Sequence[str] = ()
    previous: Verdict | None = None
    last_look: bool = False
    reference: Sequence[EngineSamples] = ()
    against: str = ""


def judge(evidence: Evidence) -> Verdict:
    """Judge one check.

    Returns:
        INVALID for a void measurement, NO_BASELINE, NOT_COMPARABLE with the differences, else the worst status of the
        gated metrics; UNDECIDED asks for another engine.
    """
    return judge_keeping(evidence).verdict


@dataclass(frozen=True)
class Judged:
    """A verdict, and what each of its metrics was judged on.

    Attributes:
        verdict: the verdict.
        cases: samples and settings of the metrics that noise moves.
        paired: the same of metrics that are compared request by request: their innermost lists are requests.
        exact: samples of the exact metrics.
    """

    verdict: Verdict
    cases: Mapping[str, Case] = field(default_factory=dict)
    paired: Mapping[str, Case] = field(default_factory=dict)
    exact: Mapping[str, MetricSamples] = field(default_factory=dict)


def judge_keeping(evidence: Evidence) -> Judged:
    """Judge one check as `judge` does, and keep what its metrics were judged on."""
    if (nothing := _nothing_to_judge(evidence)) is not None:
        return Judged(nothing)
    plan = _Plan(evidence)
    verdict = plan.verdict(judge_cases(plan.cases.values()))
    return Judged(verdict, plan.cases, plan.paired, plan.exact)


def _nothing_to_judge(check: Evidence) -> Verdict | None:
    if check.problems:
        return Verdict(Status.INVALID, reasons=tuple(map(str, check.problems)))
    if check.reference:
        return None
    if not check.sessions:
        return Verdict(Status.NO_BASELINE)
    if is_thin(check.sessions):
        return Verdict(Status.NO_BASELINE, reasons=(thin_reason(check.sessions),))
    if check.differences:
        return Verdict(Status.NOT_COMPARABLE, reasons=tuple(check.differences))
    return None


def is_thin(sessions: Sequence[Session]) -> bool:
    """Whether these sessions hold too few engine starts to be a baseline."""
    return _starts(sessions) < MIN_ENGINES


def thin_reason(sessions: Sequence[Session]) -> str:
    """Why sessions are no baseline, in words."""
    return _holds(_starts(sessions))


def _holds(starts: int, noun: str = "engine start") -> str:
    return f"the baseline holds {starts} {noun}{'' if starts == 1 else 's'}; at least {MIN_ENGINES} are needed"


def _starts(sessions: Sequence[Session]) -> int:
    return sum(len(session.engines) for session in sessions)


@dataclass
class _Plan:
    """What is to be judged of one check, before its cases are decided together."""

    check: Evidence
    cases: dict[str, Case] = field(default_factory=dict)
    paired: dict[str, Case] = field(default_factory=dict)
    exact: dict[str, MetricSamples] = field(default_factory=dict)
    _done: dict[str, MetricVerdict] = field(default_factory=dict)
    _informational: dict[str, str] = field(default_factory=dict)
    _kept: dict[str, MetricVerdict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        decided = _decided(self.check.previous)
        gate = [METRICS[name] for name in self.check.settings.gate]
        deciding = [metric for metric in gate if metric.decides]
        for metric in deciding:
            if metric.name in decided:
                self._done[metric.name] = self._kept[metric.name] = decided[metric.name]
            if metric.name not in decided or decided[metric.name].status is Status.OK:
                self._plan(metric)
        kinds = {metric.kind for metric in gate}
        cold = [metric for metric in METRICS.values() if not metric.decides and metric.kind in kinds]
        for metric in [*(METRICS[name] for name in CLOCK_METRICS), *cold]:
            if metric not in deciding:
                self._informational[metric.name] = "" if metric.decides else "cold starts are not judged"
                self._plan(metric)

    def verdict(self, decisions: Sequence[Decision]) -> Verdict:
        """Put what was decided together, one decision for each of the cases."""
        for (name, case), decision in zip(self.cases.items(), decisions, strict=True):
            self._done[name] = self._judged(case, decision)
        ordered = [self._standing(name) for name in METRICS.ordered(self._done)]
        gated = tuple(one for one in ordered if one.metric not in self._informational)
        information = tuple(one for one in ordered if one.metric in self._informational)
        if not gated:
            reasons = [one.reason for one in information if one.reason]
            return Verdict(
                Status.INVALID, (), information, tuple(reasons) or ("none of the gated metrics was measured",)
            )
        return Verdict(worst([one.status for one in gated]), gated, information)

    def _plan(self, metric: Metric) -> None:
        if self.check.reference:
            self._plan_rounds(metric)
            return
        samples = metric_samples(metric, self.check.sessions, self.check.engines)
        margin = self.check.settings.margin_of(metric)
        if not samples.stored or not samples.new:
            if one_sided := self._one_sided(metric, samples, margin):
                self._done[metric.name] = one_sided
            return
        stored = (session.engines for session in self.check.sessions)
        if left_out_of_some(metric, chain(*stored, self.check.engines)):
            before, now = stats.center(samples.stored_engines), stats.center(samples.new)
            reason = f"{_left_out(metric)}; record the baseline again (--vllmperf-update)"
            self._done[metric.name] = MetricVerdict(metric.name, Status.INVALID, before, now, margin, reason=reason)
            return
        if (too_few := metric.too_few(self.check.engines)) and metric.name not in self._informational:
            self._informational[metric.name] = too_few
        if metric.exact:
            self.exact[metric.name] = samples
            self._done[metric.name] = _exact(metric, samples, margin)
            return
        if _has_zero([*samples.stored_engines, *samples.new]):
            self._done[metric.name] = MetricVerdict(metric.name, Status.INVALID, None, None, margin, reason=_ZERO)
            return
        rule = self.check.settings.rule(metric)
        case = Case(metric.name, metric.better, samples.stored, samples.new, rule, samples.gap)
        paired = paired_samples(metric, self.check.sessions, self.check.engines)
        if paired is None:
            self.cases[metric.name] = case
        else:
            self.paired[metric.name] = replace(case, baseline=paired.stored, new=paired.new)
            decision = judge_paired(self.paired[metric.name])
            self._done[metric.name] = self._judged(case, decision, paired=True)

    def _plan_rounds(self, metric: Metric) -> None:
        """The same by the ratio to the reference."""
        check, margin = self.check, self.check.settings.margin_of(metric)
        rounds = round_samples(metric, check.engines, check.reference)
        if not rounds.new:
            sides = (check.engines, check.reference)
            measured = [any(engine.values(metric.name) for engine in side) for side in sides]
            if any(measured):
                waiting = all(measured)
                status = Status.UNDECIDED if waiting else Status.INVALID
                reason = "no warm start yet" if waiting else "it was measured on one side only"
                self._done[metric.name] = MetricVerdict(
                    metric.name, status, None, None, margin, reason=reason, against=check.against
                )
            return
        if (too_few := metric.too_few(check.engines)) and metric.name not in self._informational:
            self._informational[metric.name] = too_few
        if metric.exact:
            found = _exact(metric, MetricSamples([rounds.reference], rounds.new), margin)
        elif left_out_of_some(metric, chain(check.engines, check.reference)):
            before, now = stats.center(rounds.reference), stats.center(rounds.new)
            found = MetricVerdict(metric.name, Status.INVALID, before, now, margin, reason=_left_out(metric))
        elif _has_zero([*rounds.new, *rounds.reference]):
            found = MetricVerdict(metric.name, Status.INVALID, None, None, margin, reason=_ZERO)
        else:
            decision = judge_rounds(metric, rounds, check.sessions, check.settings.rule(metric))
            found = _verdict(decision, decision.baseline, decision.value, paired=rounds.by_request)
        self._done[metric.name] = replace(found, against=check.against)

    def _judged(self, case: Case, decision: Decision, *, paired: bool = False) -> MetricVerdict:
        """The rule's decision; where requests are paired, levels are those of the metric itself."""
        before, now = decision.baseline, decision.value
        if paired:
            before, now = stats.center([e for session in case.baseline for e in session]), stats.center(case.new)
        found = _verdict(decision, before, now, paired=paired)
        if decision.thin_baseline and decision.status is not Status.OK:
            thin = f"{_holds(decision.noise.engines)}; record more (--vllmperf-engines)"
            if METRICS[case.metric].once:
                thin = f"{_holds(decision.noise.engines, 'value')}; add sessions (--vllmperf-append)"
            found = replace(found, reason=thin)
        if decision.crept is None:
            return found
        measured = [session for session in self.check.sessions if any(e.values(case.metric) for e in session.engines)]
        sessions = len(case.baseline) + (case.gap[1] if case.gap else 0) + 1
        return replace(found, drift=Drift(decision.crept, measured[0].recorded, sessions))

    def _one_sided(self, metric: Metric, samples: MetricSamples, margin: float) -> MetricVerdict | None:
        """A metric that a side lacks cannot be judged: never a pass; None for one that no engine has measured.

        Where only engines whose start does not count have measured it, a side may still get it: the new one from the
        next engine, the stored one never.
        """
        stored = any(engine.values(metric.name) for session in self.check.sessions for engine in session.engines)
        new = any(engine.values(metric.name) for engine in self.check.engines)
        if not stored and not new:
            return None
        status, reason = Status.INVALID, "it was measured on one side only"
        if metric.custom and not stored:
            reason = "its baseline has no value for it; add sessions (--vllmperf-append), or record it again"
        if stored and not samples.stored:
            reason = "the baseline holds no warm start: record it on more engines (--vllmperf-engines)"
        elif samples.stored and new:
            status, reason = Status.UNDECIDED, "no warm start yet"
        before = stats.center(samples.stored_engines) if samples.stored else None
        now = stats.center(samples.new) if samples.new else None
        return MetricVerdict(metric.name, status, before, now, margin, reason=reason)

    def _standing(self, name: str) -> MetricVerdict:
        """The metric's verdict; what an earlier look decided stands, unless it was OK and is worse by now.

        The engines that another metric needed are evidence of this one too. They never ask for more of them.
        """
        now, kept = self._final(self._done[name]), self._kept.get(name)
        return now if kept is None or now.status in _WORSE else kept

    def _final(self, one: MetricVerdict) -> MetricVerdict:
        """The judged metric with what this check adds to it."""
        reason = one.reason or self._informational.get(one.metric, "")
        spent = self.check.last_look or len(self.check.engines) >= self.check.settings.max_engines
        spent = spent or METRICS[one.metric].once  # another engine start would show nothing new
        status = one.status
        if spent and status in (Status.UNDECIDED, Status.NOISY):
            status = Status.REGRESSED if _far_beyond(one) else Status.NOISY
        return replace(one, status=status, reason=reason, clearly_better=clearly_better(one))


def _left_out(metric: Metric) -> str:
    """Why figures of a metric cannot be compared, see `left_out_of_some`."""
    return f"some engine starts leave out the {METRICS[metric.leaves_out].label}, others contain it"


def _far_beyond(one: MetricVerdict) -> bool:
    """Whether a metric is worse by more than its margin and its interval, though too few engines show it.

    No more engines come, and a change that large is never passed as noise.
    """
    if one.change is None or one.low is None or one.high is None:
        return False
    if METRICS[one.metric].better is Direction.HIGHER:
        return one.change < -one.margin and one.high < 0
    return one.change > one.margin and one.low > 0


def clearly_better(one: MetricVerdict) -> bool:
    """Whether its interval lies beyond the margin on the good side; OK may come before IMPROVED can."""
    if one.low is None or one.high is None:
        return one.status is Status.IMPROVED
    ahead = one.low if METRICS[one.metric].better is Direction.HIGHER else -one.high
    return ahead > one.margin


def _decided(previous: Verdict | None) -> Mapping[str, MetricVerdict]:
    if previous is None:
        return {}
    return {one.metric: one for one in previous.metrics if one.status.final}


def exact_values(samples: MetricSamples) -> tuple[list[float], list[float]]:
    """One value of each stored engine, and of each new one."""
    return [stats.center([engine]) for engine in samples.stored_engines], [stats.center([one]) for one in samples.new]


def _exact(metric: Metric, samples: MetricSamples, margin: float) -> MetricVerdict:
    stored, new = exact_values(samples)
    found = judge_exact(metric.better, stored, new, margin, confirming_engines(metric))
    change = found.value / found.baseline - 1 if found.baseline else None
    return MetricVerdict(
        metric.name, found.status, found.baseline, found.value, margin, change,
        engines=len(new), iterations=len(samples.new[-1]),
    )  # fmt: skip


def _has_zero(engines: Sequence[Sequence[float]]) -> bool:
    return any(value <= 0 for engine in engines for value in engine)


def _verdict(decision: Decision, baseline: float, now: float, *, paired: bool) -> MetricVerdict:
    """The rule's decision as it is reported."""
    return MetricVerdict(
        metric=decision.metric,
        status=decision.status,
        baseline=baseline,
        now=now,
        margin=decision.margin,
        change=decision.change,
        low=decision.low,
        high=decision.high,
        confidence=decision.confidence,
        engines=decision.engines,
        iterations=decision.iterations,
        paired=paired,
        noise=decision.noise,
    )
