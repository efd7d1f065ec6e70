"""What a test has recorded of each of its measurements, until they are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.lab.recorded import Recording, evaluated
from pytest_vllmperf.metrics.measurement import Measurement


@dataclass(frozen=True)
class Site:
    """A call of `record`.

    Attributes:
        where: the test and the call, for an error.
        line: the user's file and line.
    """

    where: str
    line: tuple[str, int]


@dataclass
class _Of:
    """One measurement, as `measure` returned it, and with what was recorded; the call of each metric by its name."""

    asked: Measurement
    run: Measurement
    sites: dict[str, Site] = field(default_factory=dict)


class Recordings:
    """What a test has recorded."""

    def __init__(self) -> None:
        self._found: list[_Of] = []

    def add(self, site: Site, run: Measurement, recording: Recording, *, checked: bool) -> None:
        """Take in a recording of a measurement.

        Args:
            site: the call.
            run: as `measure` returned it.
            recording: of it.
            checked: whether it has been checked already.

        Raises:
            SpecError: for a measurement that was checked, a name that was recorded of it, or a value that is not valid.
        """
        name = recording.metric.name
        if checked:
            raise SpecError(f"{site.where}: its measurement was checked already; call record() before check()")
        own = next((one for one in self._found if one.asked is run), None)
        if own is None:
            self._found.append(own := _Of(run, run))
        if name in own.sites:
            raise SpecError(f"{site.where}: recorded twice for one measurement; give a list of values, or another name")
        own.run = evaluated(own.run, recording)
        own.sites[name] = site

    def of(self, run: Measurement) -> Measurement:
        """A measurement with what was recorded of it; the measurement itself where nothing was."""
        return next((one.run for one in self._found if one.asked is run), run)

    def unchecked(self, is_checked: Callable[[Measurement], bool]) -> Mapping[str, Site]:
        """The metrics that were recorded of measurements without a check, by name, each with its call."""
        loose = [one for one in self._found if not is_checked(one.asked)]
        return {name: site for one in loose for name, site in one.sites.items()}
