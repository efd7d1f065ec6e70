"""One check: all its metrics, each judged as its class asks for, and the worst of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_vllmperf import stats
from pytest_vllmperf.metrics.table import CLOCK_METRICS, METRICS, Metric, MetricClass
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.samples import EngineSamples, Session
from pytest_vllmperf.records.verdict import MetricVerdict, Status, Verdict, worst
from pytest_vllmperf.stats import Direction
from pytest_vllmperf.verdict.decision import Case, Decision, judge_cases, judge_paired
from pytest_vllmperf.verdict.exact import judge_exact
from pytest_vllmperf.verdict.samples import COLD, PAIRED, MetricSamples, metric_samples, paired_samples
from pytest_vllmperf.verdict.settings import GATED_FROM, VerdictSettings


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
    """

    sessions: Sequence[Session]
    engines: Sequence[EngineSamples]
    settings: VerdictSettings
    problems: Sequence[Problem] = ()
    differences: Sequence[str] = ()
    previous: Verdict | None = None
    last_look: bool = False


def judge(evidence: Evidence) -> Verdict:
    """Judge one check.

    Returns:
        INVALID for a void measurement, NO_BASELINE, NOT_COMPARABLE with the differences, else the worst status of the
        gated metrics; UNDECIDED asks for another engine.
    """
    return judge_all([evidence])[0]


def judge_all(checks: Sequence[Evidence]) -> list[Verdict]:
    """Judge many checks; their metrics share array operations."""
    plans = [None if _nothing_to_judge(check) else _Plan(check) for check in checks]
    decisions = iter(judge_cases(case for plan in plans if plan is not None for case in plan.cases.values()))
    return [
        _nothing_to_judge(check) or Verdict(Status.INVALID) if plan is None else plan.verdict(decisions)
        for check, plan in zip(checks, plans, strict=True)
    ]


def _nothing_to_judge(check: Evidence) -> Verdict | None:
    if check.problems:
        return Verdict(Status.INVALID, reasons=tuple(map(str, check.problems)))
    if not check.sessions:
        return Verdict(Status.NO_BASELINE)
    if check.differences:
        return Verdict(Status.NOT_COMPARABLE, reasons=tuple(check.differences))
    return None


@dataclass
class _Plan:
    """What is to be judged of one check, before the cases of all checks are decided together."""

    check: Evidence
    cases: dict[str, Case] = field(default_factory=dict)
    _done: dict[str, MetricVerdict] = field(default_factory=dict)
    _informational: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        decided = _decided(self.check.previous)
        gate = [name for name in self.check.settings.gate if name != COLD]
        for name in gate:
            if name in decided:
                self._done[name] = decided[name]
            else:
                self._plan(METRICS[name])
        loads = any(METRICS[name].kind is MetricClass.LOAD for name in self.check.settings.gate)
        for name in [*CLOCK_METRICS, *([COLD] if loads else [])]:
            if name not in gate:
                self._informational[name] = "a cold start decides nothing" if name == COLD else ""
                self._plan(METRICS[name])

    def verdict(self, decisions: Iterator[Decision]) -> Verdict:
        """Put what was decided together; takes as many decisions as there are cases here."""
        for (name, case), decision in zip(self.cases.items(), decisions, strict=False):
            self._done[name] = _judged(case, decision)
        ordered = [self._final(self._done[name]) for name in METRICS if name in self._done]
        gated = tuple(one for one in ordered if one.metric not in self._informational)
        information = tuple(one for one in ordered if one.metric in self._informational)
        if not gated:
            reasons = [one.reason for one in information if one.reason]
            return Verdict(
                Status.INVALID, (), information, tuple(reasons) or ("none of the gated metrics was measured",)
            )
        return Verdict(worst([one.status for one in gated]), gated, information)

    def _plan(self, metric: Metric) -> None:
        samples = metric_samples(metric, self.check.sessions, self.check.engines)
        margin = self.check.settings.margin_of(metric)
        if not samples.stored and not samples.new:
            if metric.kind is MetricClass.LOAD and any(engine.values(metric.name) for engine in self.check.engines):
                self._done[metric.name] = MetricVerdict(metric.name, Status.UNDECIDED, None, None, margin)
            return
        if not samples.stored or not samples.new:
            self._done[metric.name] = self._one_sided(metric, samples, margin)
            return
        if (too_few := self._too_few(metric)) and metric.name not in self._informational:
            self._informational[metric.name] = too_few
        if metric.kind is MetricClass.EXACT:
            self._done[metric.name] = _exact(metric, samples, margin)
            return
        values = [value for engine in [*samples.stored_engines, *samples.new] for value in engine]
        if min(values) <= 0:
            zero = "a sample is zero, and this metric is judged by ratios"
            self._done[metric.name] = MetricVerdict(metric.name, Status.INVALID, None, None, margin, reason=zero)
            return
        case = Case(metric.name, metric.better, samples.stored, samples.new, self.check.settings.rule(metric))
        paired = paired_samples(self.check.sessions, self.check.engines) if metric.name == PAIRED else None
        if paired is None:
            self.cases[metric.name] = case
        else:
            decision = judge_paired(Case(metric.name, metric.better, paired.stored, paired.new, case.settings))
            self._done[metric.name] = _judged(case, decision, paired=True)

    def _one_sided(self, metric: Metric, samples: MetricSamples, margin: float) -> MetricVerdict:
        """A metric that only one side has observed cannot be judged: never a pass."""
        before = stats.center(samples.stored_engines) if samples.stored else None
        now = stats.center(samples.new) if samples.new else None
        if metric.kind is MetricClass.LOAD and any(engine.cold_start for engine in self.check.engines):
            return MetricVerdict(metric.name, Status.UNDECIDED, before, now, margin, reason="not started warm yet")
        return MetricVerdict(metric.name, Status.INVALID, before, now, margin, reason="only one side has measured it")

    def _too_few(self, metric: Metric) -> str:
        """Why a percentile does not decide; empty where there are enough observations."""
        needed = GATED_FROM.get(metric.name.rpartition(".")[2], 0)
        if metric.name.startswith("itl."):
            counts = [min(engine.values("output_tokens"), default=0) for engine in self.check.engines]
        else:
            counts = [len(engine.ttft_by_request) for engine in self.check.engines]
        if min(counts) >= needed:
            return ""
        return f"{metric.label} decides from {needed:,} observations on; there are {min(counts):,.0f}"

    def _final(self, one: MetricVerdict) -> MetricVerdict:
        """The judged metric with what this check adds to it."""
        reason = one.reason or self._informational.get(one.metric, "")
        spent = self.check.last_look or len(self.check.engines) >= self.check.settings.max_engines
        status = Status.NOISY if spent and one.status is Status.UNDECIDED else one.status
        return replace(one, status=status, reason=reason, clearly_better=clearly_better(one))


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


def _exact(metric: Metric, samples: MetricSamples, margin: float) -> MetricVerdict:
    stored = [stats.center([engine]) for engine in samples.stored_engines]
    new = [stats.center([engine]) for engine in samples.new]
    found = judge_exact(metric.better, stored, new, margin)
    change = found.value / found.baseline - 1 if found.baseline else None
    return MetricVerdict(
        metric.name, found.status, found.baseline, found.value, margin, change,
        engines=len(new), iterations=len(samples.new[-1]),
    )  # fmt: skip


def _judged(case: Case, decision: Decision, *, paired: bool = False) -> MetricVerdict:
    """The rule's decision; where requests are paired, levels are those of the metric itself."""
    thin = (
        f"nothing can be told from {decision.noise.engines} stored engine(s): record more (--vllmperf-engines)"
        if decision.thin_baseline
        else ""
    )
    return MetricVerdict(
        metric=decision.metric,
        status=decision.status,
        baseline=stats.center([e for session in case.baseline for e in session]) if paired else decision.baseline,
        now=stats.center(case.new) if paired else decision.value,
        margin=decision.margin,
        change=decision.change,
        low=decision.low,
        high=decision.high,
        confidence=decision.confidence,
        engines=decision.engines,
        iterations=decision.iterations,
        paired=paired,
        noise=decision.noise,
        reason="" if decision.status is Status.OK else thin,
    )
