"""Measurements whose GPU waited for its host: their wall-clock times say little of the GPU."""

from __future__ import annotations

from typing import Final

from pytest_vllmperf.metrics.device_pass import DevicePassMetrics
from pytest_vllmperf.records.results import CheckRecord
from pytest_vllmperf.report import units

IDLE_SHARE: Final = 0.25
"""A GPU that idles for more than this share of an iteration waits for its host."""

_SHARE: Final = DevicePassMetrics.gpu_idle_share.name
_TIME: Final = DevicePassMetrics.gpu_time.name


def host_bound(record: CheckRecord) -> str:
    """What is told of a host-bound check; empty for any other one.

    Nothing is stored for it: the baseline holds the idle share of each engine. Where requests arrive at a rate, the GPU
    idles between them by intention, and nothing is told.
    """
    share = record.values.get(_SHARE)
    if share is None or share <= IDLE_SHARE or "arrivals" in record.workload:
        return ""
    idled = units.value(_SHARE, share)
    return f"host-bound: the GPU idled {idled} of the iteration; judge it by {_TIME}, or use a larger model or batch"
