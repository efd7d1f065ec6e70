"""Where a change of time comes from: kernels of the GPU, its idle time, and the parts of a request. Pure.

Times of kernels are compared by name. A baseline names the forty largest of an engine. So a kernel that one side alone
names may run on the other side too, as one of its others. It is new, or gone, only where that cannot matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from pytest_vllmperf import stats
from pytest_vllmperf.metrics.declaration import Metric, MetricClass
from pytest_vllmperf.metrics.kernel_sums import NOTHING, KernelSums, kernel_sums, no_device_pass
from pytest_vllmperf.metrics.table import METRICS, AllMetrics
from pytest_vllmperf.records.attribution import Attribution, Change, Interval, KernelChange, Seen
from pytest_vllmperf.records.kernels import KernelTime
from pytest_vllmperf.records.samples import EngineSamples, Session
from pytest_vllmperf.records.verdict import MetricVerdict, Status, Verdict
from pytest_vllmperf.verdict.check import Evidence
from pytest_vllmperf.verdict.comparison import Comparison
from pytest_vllmperf.verdict.decision import Case, Decision, judge_case
from pytest_vllmperf.verdict.in_turns import judge_rounds
from pytest_vllmperf.verdict.rule import RuleSettings
from pytest_vllmperf.verdict.samples import metric_samples, round_samples

SHARE_OF_CHANGE: Final = 0.1
"""A kernel is compared by name where what may be hidden among the others is at most this share of its change."""

SHARE_OF_KERNEL: Final = 0.01
"""The same as a share of its own time: a kernel that hardly changed needs no proof that all of it has a name."""

GPU_TIME: Final = AllMetrics.gpu_time
LAUNCHES: Final = AllMetrics.gpu_kernels

REQUEST_PARTS: Final = (AllMetrics.queue.name, AllMetrics.prefill.name, AllMetrics.decode.name)
"""Their means add up to the mean E2E latency."""

LEVELS: Final = (
    AllMetrics.gpu_time_prefill.name,
    AllMetrics.gpu_time_decode_step.name,
    AllMetrics.gpu_busy.name,
    AllMetrics.gpu_idle_share.name,
    AllMetrics.gpu_time_waiting.name,
    LAUNCHES.name,
    AllMetrics.device_pass_sm_clock.name,
    AllMetrics.device_pass_memory_clock.name,
    AllMetrics.device_pass_power_capped.name,
    *(f"{part}.mean" for part in REQUEST_PARTS),
)

_KINDS: Final = (MetricClass.THROUGHPUT, MetricClass.LATENCY, MetricClass.TAIL, MetricClass.GPU_TIME)


def slower(judged: Sequence[MetricVerdict]) -> tuple[str, ...]:
    """The metrics of time that regressed among these, so that it is worth saying where it went."""
    return tuple(one.metric for one in judged if one.status is Status.REGRESSED and METRICS[one.metric].kind in _KINDS)


def attribute(
    before: Sequence[EngineSamples], after: Sequence[EngineSamples], interval: Interval | None = None
) -> Attribution:
    """Compare the device passes of two sides, and the parts of their requests.

    Args:
        before: engines of the baseline, or of the reference.
        after: engines that are compared with them.
        interval: of the relative change of `gpu_time`; see `stored_interval`, `turns_interval`, `compared_interval`.

    Returns:
        What both sides have measured; the rest of it is empty or None.
    """
    sums = kernel_sums(before), kernel_sums(after)
    compared = list(_compared(*sums)) if all(one.engines for one in sums) else []
    unsure = tuple(one for one in compared if one.seen is Seen.UNSURE)
    return Attribution(
        gpu_time=_change(GPU_TIME.name, before, after),
        interval=interval,
        kernels=tuple(one for one in compared if one.seen is not Seen.UNSURE),
        ranks=max(one.ranks for one in sums),
        others=_others(sums, unsure) if all(one.engines for one in sums) else None,
        unsure=unsure,
        levels={name: found for name in LEVELS if (found := _change(name, before, after)) is not None},
        launches_differ=_apart(LAUNCHES.name, before, after),
        no_pass_before=no_device_pass(before),
        no_pass_after=no_device_pass(after),
    )


def _compared(before: KernelSums, after: KernelSums) -> Iterator[KernelChange]:
    """Each kernel that a side names, the largest change first."""
    found = [_kernel(name, before, after) for name in {**before.named, **after.named}]
    yield from sorted(found, key=lambda one: (-abs(one.seconds.difference), one.name))


def _kernel(name: str, before: KernelSums, after: KernelSums) -> KernelChange:
    then, now = before.of(name), after.of(name)
    hidden = before.most_hidden(name) + after.most_hidden(name)
    change, larger = abs(now.seconds - then.seconds), max(now.seconds, then.seconds)
    if hidden > max(SHARE_OF_CHANGE * change, SHARE_OF_KERNEL * larger):
        return KernelChange(name, then, now, Seen.UNSURE)
    sides = (
        Seen.BOTH if name in before.named and name in after.named else Seen.NEW if name in after.named else Seen.GONE
    )
    return KernelChange(name, then, now, sides)


def _others(sums: tuple[KernelSums, KernelSums], unsure: Sequence[KernelChange]) -> KernelChange:
    then = _added(sums[0].rest, [one.before for one in unsure])
    now = _added(sums[1].rest, [one.after for one in unsure])
    return KernelChange(NOTHING.name, then, now)


def _added(rest: KernelTime, more: Sequence[KernelTime]) -> KernelTime:
    return KernelTime(
        rest.name, rest.times + sum(one.times for one in more), rest.seconds + sum(one.seconds for one in more)
    )


def _values(name: str, engines: Sequence[EngineSamples]) -> list[list[float]]:
    return [values for engine in engines if (values := METRICS[name].counted(engine))]


def _change(name: str, before: Sequence[EngineSamples], after: Sequence[EngineSamples]) -> Change | None:
    """The medians of both sides; None where one has not measured it."""
    sides = [_values(name, engines) for engines in (before, after)]
    return Change(*(stats.center(side) for side in sides)) if all(sides) else None


def _apart(name: str, before: Sequence[EngineSamples], after: Sequence[EngineSamples]) -> bool:
    """Whether no value of one side lies within the values of the other."""
    sides = [[value for engine in _values(name, engines) for value in engine] for engines in (before, after)]
    if not all(sides):
        return False
    then, now = sides
    return min(now) > max(then) or max(now) < min(then)


def of_check(verdict: Verdict, evidence: Evidence) -> Attribution | None:
    """Compare the new engines of a judged check with its reference, or else with its baseline.

    GPU time and its interval are those that it was judged by, or would have been.

    Args:
        verdict: of the check.
        evidence: what it was judged by.

    Returns:
        None where nothing was judged.
    """
    if not verdict.metrics:
        return None
    sessions, engines, reference = evidence.sessions, evidence.engines, evidence.reference
    before = reference or [engine for session in sessions for engine in session.engines]
    if (judged := _judged(verdict)) is not None:
        change, interval = judged
        return replace(attribute(before, engines, interval), gpu_time=change)
    rule = evidence.settings.rule(GPU_TIME)
    if reference:
        return attribute(before, engines, turns_interval(sessions, engines, reference, rule))
    return attribute(before, engines, stored_interval(sessions, engines, rule))


def _judged(verdict: Verdict) -> tuple[Change, Interval] | None:
    """GPU time in a verdict, and the interval of its change; None where it is not among the judged metrics."""
    one = next((one for one in (*verdict.metrics, *verdict.information) if one.metric == GPU_TIME.name), None)
    if one is None or one.change is None or one.low is None or one.high is None or one.confidence is None:
        return None
    if one.baseline is None or one.now is None:
        return None
    return Change(one.baseline, one.now), Interval(one.change, one.low, one.high, one.confidence)


def stored_interval(
    sessions: Sequence[Session], engines: Sequence[EngineSamples], settings: RuleSettings, metric: Metric = GPU_TIME
) -> Interval | None:
    """The interval of a metric's change from stored sessions to new engines: that of its verdict, of `judge_case`.

    Args:
        sessions: the baseline.
        engines: the new engines.
        settings: margin, error and hyperparameters of the metric.
        metric: which.

    Returns:
        None where a side has not measured it, or has a sample of zero, so no ratio can be computed.
    """
    samples = metric_samples(metric, sessions, engines)
    if not _positive(samples.stored_engines) or not _positive(samples.new):
        return None
    return _interval(judge_case(Case(metric.name, metric.better, samples.stored, samples.new, settings, samples.gap)))


def turns_interval(
    sessions: Sequence[Session],
    engines: Sequence[EngineSamples],
    reference: Sequence[EngineSamples],
    settings: RuleSettings,
    metric: Metric = GPU_TIME,
) -> Interval | None:
    """The same from a reference to new engines, measured in turns: that of the verdict, of `judge_rounds`.

    Args:
        sessions: the baseline, which says what engines vary by; may be empty.
        engines: the new engines.
        reference: each was measured in turns with the new one at the same place.
        settings: margin, error and hyperparameters of the metric.
        metric: which.
    """
    rounds = round_samples(metric, engines, reference)
    if not _positive(rounds.new) or not _positive(rounds.reference):
        return None
    return _interval(judge_rounds(metric, rounds, sessions, settings))


def compared_interval(found: Comparison) -> Interval:
    """The same of `compare()` on a metric where lower is better: b is before, a is after."""
    return Interval(1 / found.ratio - 1, 1 / found.high - 1, 1 / found.low - 1, found.confidence)


def _positive(engines: Sequence[Sequence[float]]) -> bool:
    return bool(engines) and all(0 < value < math.inf for engine in engines for value in engine)


def _interval(decision: Decision) -> Interval:
    return Interval(decision.change, decision.low, decision.high, decision.confidence)
