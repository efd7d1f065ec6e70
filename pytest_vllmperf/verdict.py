"""Measurement x baseline -> verdict. Pure: it knows no engine, no file and no clock.

Until the noise model lands, a metric of the clock is judged by a plain margin between medians over engines, and an
exact metric by equality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from pytest_vllmperf import stats
from pytest_vllmperf.errors import NotMeasuredError
from pytest_vllmperf.metrics.records import Measurement, Session
from pytest_vllmperf.metrics.table import CLOCK_METRICS, METRICS, Better, Metric, MetricClass

DEFAULT_MARGIN = 0.05


class Status(Enum):
    """What a verdict says; the order is from good to bad."""

    OK = "OK"
    IMPROVED = "IMPROVED"
    NOISY = "NOISY"
    NO_BASELINE = "NO_BASELINE"
    NOT_COMPARABLE = "NOT_COMPARABLE"
    INVALID = "INVALID"
    REGRESSED = "REGRESSED"


@dataclass(frozen=True)
class VerdictSettings:
    """How to judge.

    Attributes:
        gate: names of the metrics that decide.
        margin: tolerated relative change for the worse, such as 0.05; for metrics not in `margins`.
        margins: tolerated relative change by metric.
    """

    gate: tuple[str, ...]
    margin: float = DEFAULT_MARGIN
    margins: Mapping[str, float] = field(default_factory=dict)

    def margin_of(self, metric: Metric) -> float:
        """The margin of one metric; an exact one has none unless it was given by name."""
        default = 0.0 if metric.kind is MetricClass.EXACT else self.margin
        return self.margins.get(metric.name, default)


@dataclass(frozen=True)
class MetricVerdict:
    """One metric, judged.

    Attributes:
        metric: its name in the table.
        status: OK, REGRESSED, IMPROVED or INVALID.
        baseline: value of the stored sessions, in the unit of the table; None when not measured there.
        now: value of this measurement; None when not measured.
        margin: the tolerated relative change.
    """

    metric: str
    status: Status
    baseline: float | None
    now: float | None
    margin: float

    @property
    def change(self) -> float | None:
        """Now / baseline - 1; None where it has no meaning."""
        if self.baseline is None or self.now is None or self.baseline == 0:
            return None
        return self.now / self.baseline - 1


@dataclass(frozen=True)
class Verdict:
    """All gated metrics of one check, judged.

    Attributes:
        status: the worst of them, or why there was nothing to judge.
        metrics: the gated metrics in the order of the table; empty when there was nothing to judge.
        information: the metrics of the clock that do not decide here, judged alike.
        reasons: in words, why there was nothing to judge.
    """

    status: Status
    metrics: tuple[MetricVerdict, ...] = ()
    information: tuple[MetricVerdict, ...] = ()
    reasons: tuple[str, ...] = ()


def judge(
    sessions: Sequence[Session],
    measurement: Measurement,
    settings: VerdictSettings,
    differences: Sequence[str] = (),
) -> Verdict:
    """Judge a measurement by the stored sessions of the same check.

    Args:
        sessions: what the baseline holds; empty when there is none.
        measurement: what was measured now.
        settings: gate and margins.
        differences: hard keys in which the environments differ, in words.

    Returns:
        INVALID for a void measurement, NO_BASELINE, NOT_COMPARABLE with the differences, else the worst status
        of the gated metrics.
    """
    if measurement.problems:
        return Verdict(Status.INVALID, reasons=measurement.problems)
    if not sessions:
        return Verdict(Status.NO_BASELINE)
    if differences:
        return Verdict(Status.NOT_COMPARABLE, reasons=tuple(differences))
    judged = _judge_metrics(settings.gate, sessions, measurement, settings)
    if not judged:
        return Verdict(Status.INVALID, reasons=("none of the gated metrics was measured",))
    order = list(Status)
    shown = [name for name in CLOCK_METRICS if name not in settings.gate]
    information = _judge_metrics(shown, sessions, measurement, settings)
    return Verdict(max((v.status for v in judged), key=order.index), judged, information)


def _judge_metrics(
    names: Sequence[str], sessions: Sequence[Session], measurement: Measurement, settings: VerdictSettings
) -> tuple[MetricVerdict, ...]:
    """Those of `names` that either side has observed."""
    judged = (_judge_metric(METRICS[name], sessions, measurement, settings) for name in names)
    return tuple(v for v in judged if v.baseline is not None or v.now is not None)


def _judge_metric(
    metric: Metric, sessions: Sequence[Session], measurement: Measurement, settings: VerdictSettings
) -> MetricVerdict:
    stored = [values for session in sessions for e in session.engines if (values := e.values(metric.name))]
    baseline = stats.center(stored) if stored else None
    try:
        now = measurement.value(metric.name)
    except NotMeasuredError:
        now = None
    margin = settings.margin_of(metric)
    return MetricVerdict(metric.name, _status(metric, baseline, now, margin), baseline, now, margin)


def _status(metric: Metric, baseline: float | None, now: float | None, margin: float) -> Status:
    """A metric that only one side has observed cannot be judged: that is INVALID, never a pass."""
    if baseline is None or now is None:
        return Status.INVALID
    worse, better = (now, baseline) if metric.better is Better.LOWER else (baseline, now)
    # Compared as products: a baseline of zero (preemptions, cache hits) has no ratio.
    if worse > better * (1 + margin):
        return Status.REGRESSED
    if better > worse * (1 + margin):
        return Status.IMPROVED
    return Status.OK


@dataclass(frozen=True)
class Comparison:
    """Two engines on one workload, measured in turns.

    Attributes:
        a: the first engine's measurement.
        b: the second one's.
        confidence: two-sided level of the intervals.
    """

    a: Measurement
    b: Measurement
    confidence: float = 0.99

    def speedup(self, metric: str = "output_throughput") -> stats.RatioInterval:
        """How many times better `a` is than `b`, from the paired rounds.

        For a metric where lower is better the ratio is turned round, so that above 1 always means that `a` wins.

        Raises:
            NotMeasuredError: when either engine did not observe the metric, or a sample is zero.
        """
        if metric not in METRICS:
            raise NotMeasuredError(f"no metric is called {metric!r}")
        samples = [side.samples(metric) for side in (self.a, self.b)]
        if not all(samples) or any(value <= 0 for side in samples for engine in side for value in engine):
            raise NotMeasuredError(f"{METRICS[metric].label} was not measured on both engines")
        a, b = (samples[0][0], samples[1][0])
        if METRICS[metric].better is Better.LOWER:
            a, b = b, a
        return stats.ratio_interval(a, b, self.confidence)
