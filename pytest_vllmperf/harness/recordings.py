"""What a test has recorded of each of its measurements, until they are checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.lab.recorded import Recording, evaluated
from pytest_vllmperf.metrics.measurement import Measurement


@dataclass
class _Of:
    """One measurement, as `measure` returned it, and with what was recorded."""

    asked: Measurement
    run: Measurement
    names: list[str] = field(default_factory=list)


class Recordings:
    """What a test has recorded."""

    def __init__(self) -> None:
        self._found: list[_Of] = []

    def add(self, where: str, run: Measurement, recording: Recording, *, checked: bool) -> None:
        """Take in a recording of a measurement.

        Args:
            where: the call, for an error.
            run: as `measure` returned it.
            recording: of it.
            checked: whether it has been checked already.

        Raises:
            SpecError: for a measurement that was checked, a name that was recorded of it, or a value that is not valid.
        """
        name = recording.metric.name
        if checked:
            raise SpecError(f"{where}: its measurement was checked already; call record() before check()")
        own = next((one for one in self._found if one.asked is run), None)
        if own is None:
            self._found.append(own := _Of(run, run))
        if name in own.names:
            raise SpecError(f"{where}: recorded twice for one measurement; give a list of values, or another name")
        own.run = evaluated(own.run, recording)
        own.names.append(name)

    def of(self, run: Measurement) -> Measurement:
        """A measurement with what was recorded of it; the measurement itself where nothing was."""
        return next((one.run for one in self._found if one.asked is run), run)

    def unchecked(self, is_checked: Callable[[Measurement], bool]) -> list[str]:
        """Names of metrics that were recorded of measurements without a check, in order."""
        loose = [one for one in self._found if not is_checked(one.asked)]
        return list(dict.fromkeys(name for one in loose for name in one.names))
