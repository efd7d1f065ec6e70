"""How a measurement was made, so that it can be made again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_vllmperf.lab.sharing import Sharing
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.rates import RateSearch
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.workload import Workload

if TYPE_CHECKING:
    from pytest_vllmperf.lab.recorded import Recording


@dataclass(frozen=True)
class Take:
    """How a measurement was made; it travels with the measurement.

    Attributes:
        target: the engine and where it runs.
        workload: what was sent.
        settings: how often.
        allowed: validity rules that are turned off.
        sharing: of a measurement in turns: `target` and its reference, and how they share the device; None for a
            measurement on its own.
        against: the reference's vLLM and interpreter, for a person; empty for a measurement on its own.
        slo: what was promised of each request, so that goodput is a metric; None where nothing was.
        search: of a measurement that searches for the highest rate; None for any other.
        recordings: custom metrics whose functions compute them for each engine start.
    """

    target: Target
    workload: Workload
    settings: MeasureSettings
    allowed: tuple[str, ...] = ()
    sharing: Sharing | None = None
    against: str = ""
    slo: Slo | None = None
    search: RateSearch | None = None
    recordings: tuple[Recording, ...] = ()

    @property
    def targets(self) -> tuple[Target, ...]:
        """All engines that it needs."""
        return (self.target,) if self.sharing is None else self.sharing.targets
