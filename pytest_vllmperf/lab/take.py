"""How a measurement was made, so that it can be made again."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.workload import Workload


@dataclass(frozen=True)
class Take:
    """How a measurement was made; it travels with the measurement.

    Attributes:
        target: the engine and where it runs.
        workload: what was sent.
        settings: how often.
        allowed: validity rules that are turned off.
    """

    target: Target
    workload: Workload
    settings: MeasureSettings
    allowed: tuple[str, ...] = ()
