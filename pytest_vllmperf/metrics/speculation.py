"""Metrics of speculative decoding: how much of what it proposes is right."""

from __future__ import annotations

from typing import Final

from pytest_vllmperf.metrics.declaration import Clock, Metric, MetricClass
from pytest_vllmperf.metrics.gates import Gate
from pytest_vllmperf.metrics.units import SHARE, TOKENS
from pytest_vllmperf.stats import Direction

_HIGHER: Final = Direction.HIGHER
_SOURCE: Final = "`SchedulerStats.spec_decoding_stats`; over HTTP `/metrics`, before and after"
_GATES: Final = (Gate.CLOCK, Gate.EXACT)


class SpeculationMetrics:
    """What became of drafts. Not exact: on a GPU the batch decides how numbers are rounded, and so the tokens."""

    spec_acceptance = Metric(
        "spec.acceptance", "accepted draft tokens", SHARE, _HIGHER, MetricClass.THROUGHPUT, Clock.NONE,
        formula="draft tokens accepted / draft tokens proposed by speculative decoding",
        source=_SOURCE,
        gates=_GATES,
        if_measured=True,
        zero=True,
        of=lambda one: None if one.result.drafting is None else one.result.drafting.acceptance,
    )  # fmt: skip
    spec_length = Metric(
        "spec.length", "mean acceptance length", TOKENS, _HIGHER, MetricClass.THROUGHPUT, Clock.NONE,
        formula="1 + draft tokens accepted / drafts: tokens per request and step with a draft",
        source=_SOURCE,
        gates=_GATES,
        if_measured=True,
        of=lambda one: None if one.result.drafting is None else one.result.drafting.length,
    )  # fmt: skip
