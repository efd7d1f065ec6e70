"""The ratio of two engines, as a record."""

from __future__ import annotations

from pytest_vllmperf.records.ratio import Ratio
from pytest_vllmperf.verdict import Comparison


def ratio(found: Comparison) -> Ratio:
    """A comparison's estimate and interval, as it is reported and stored."""
    return Ratio(metric=found.metric, ratio=found.ratio, low=found.low, high=found.high, rounds=found.rounds)
