"""Metrics that tests declare themselves, as declarations like those of the table."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from pytest_vllmperf.metrics.declaration import Clock, Metric, MetricClass
from pytest_vllmperf.metrics.units import BYTES, CELSIUS, COUNT, HERTZ, JOULES, SECONDS, SHARE, WATTS, Unit, plain
from pytest_vllmperf.records.custom import Declared

KNOWN_UNITS: Final = {one.symbol: one for one in (SECONDS, BYTES, SHARE, HERTZ, COUNT, WATTS, JOULES, CELSIUS)}
"""Units that a report shows as it shows those of the table; any other is shown as it is."""


@lru_cache(maxsize=4096)
def custom_metric(key: str) -> Metric | None:
    """The metric that a key declares; None for a text that is not the key of a custom metric."""
    declared = Declared.parse(key)
    if declared is None:
        return None
    return Metric(
        name=key,
        label=declared.name,
        unit=unit_of(declared.unit),
        better=declared.better,
        kind=MetricClass.EXACT if declared.exact else MetricClass.CUSTOM,
        clock=Clock.NONE,
        formula="what the test recorded",
        if_measured=True,
        once=declared.once,
        custom=True,
    )


def unit_of(symbol: str) -> Unit:
    """A unit by its symbol."""
    return KNOWN_UNITS.get(symbol) or plain(symbol)
