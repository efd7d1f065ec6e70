"""What `EngineComparison.kernels` returns: where the time of two engines differs, with a text."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.attribution import Attribution, Interval
from pytest_vllmperf.report.kernels import comparison_lines
from pytest_vllmperf.verdict.attribution import attribute


@dataclass(frozen=True)
class KernelComparison(Attribution):
    """Where the time of two engines differs; `str()` shows it as a table.

    Attributes:
        sides: the engines, before and after, for a person.
    """

    sides: tuple[str, str] = ("", "")

    @classmethod
    def of(cls, before: Measurement, after: Measurement, interval: Interval | None) -> KernelComparison:
        """Compare two measurements.

        Args:
            before: of the reference.
            after: of the engine that is compared with it.
            interval: of the relative change of `gpu_time`.
        """
        found = attribute(before.engines, after.engines, interval)
        values = {one.name: getattr(found, one.name) for one in fields(found)}
        return cls(**values, sides=(before.spec_label, after.spec_label))

    def __str__(self) -> str:
        """A line about each of both sides, and a table of their kernels."""
        return "\n".join(comparison_lines(self, self.sides))
