"""Metrics of the machine that an engine runs on: for information, as they say why the clock varies."""

from __future__ import annotations

from typing import Final

from pytest_vllmperf.metrics.declaration import Clock, Metric, MetricClass
from pytest_vllmperf.metrics.units import SHARE
from pytest_vllmperf.stats import Direction

_PROC: Final = "/proc/stat"


class HostMetrics:
    """What everyone together did on the machine; of an endpoint it is the client's machine."""

    host_load = Metric(
        "host.load", "host load", SHARE, Direction.LOWER, MetricClass.HOST, Clock.NONE,
        formula="share of all CPUs' time that any process used during an iteration, including the engine",
        source=_PROC,
        zero=True,
        of=lambda one: None if one.result.host is None else one.result.host.load,
    )  # fmt: skip
    host_steal = Metric(
        "host.steal", "host steal", SHARE, Direction.LOWER, MetricClass.HOST, Clock.NONE,
        formula="share of all CPUs' time that the hypervisor gave to other virtual machines during an iteration",
        source=_PROC,
        zero=True,
        of=lambda one: None if one.result.host is None else one.result.host.steal,
    )  # fmt: skip
