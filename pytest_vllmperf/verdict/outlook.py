"""What a baseline will be able to tell, for when it is recorded or shown."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import Session
from pytest_vllmperf.records.verdict import Outlook
from pytest_vllmperf.verdict.decision import assess, assess_paired
from pytest_vllmperf.verdict.samples import metric_samples, paired_samples
from pytest_vllmperf.verdict.settings import VerdictSettings


def outlook(sessions: Sequence[Session], settings: VerdictSettings) -> tuple[Outlook, ...]:
    """The gated metrics that noise can move; an exact metric shows any change and is left out.

    Args:
        sessions: what the baseline holds, or will hold; at least one.
        settings: gate and margins.
    """
    found = []
    for name in settings.gate:
        metric = METRICS[name]
        samples = metric_samples(metric, sessions, ())
        values = [value for engine in samples.stored_engines for value in engine]
        if metric.exact or not values or min(values) <= 0:
            continue
        rule = settings.rule(metric)
        paired = paired_samples(metric, sessions, ())
        if paired is None:
            noise = assess(name, metric.better, samples.stored, rule, samples.gap)
        else:
            noise = assess_paired(name, metric.better, paired.stored, rule, samples.gap)
        found.append(Outlook(name, rule.margin, noise))
    return tuple(found)
