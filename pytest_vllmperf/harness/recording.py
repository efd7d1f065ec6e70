"""The fixture's `record`: metrics that a test declares itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Literal

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.harness.failures import line_above
from pytest_vllmperf.harness.fitting import Fitting
from pytest_vllmperf.harness.given import check_measurement
from pytest_vllmperf.harness.recordings import Site
from pytest_vllmperf.lab.recorded import Recording, checked
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.table import name_taken
from pytest_vllmperf.records.custom import Declared


class RecordsMetrics(Fitting):
    """The method of the fixture that adds a metric to a measurement."""

    def record(
        self,
        name: str,
        value: float | Sequence[float] | Callable[[Measurement], float | Sequence[float]],
        *,
        better: Literal["lower", "higher"],
        unit: str = "",
        exact: bool = False,
        run: Measurement | None = None,
    ) -> None:
        """Add a metric of your own to a measurement; the next `check` of it gates the metric like any other.

        A function is called with the measurement of each engine start, also of those that the check starts later. So
        its values have the noise between engine starts. A number, or a list of them, is one value for the whole run;
        it is judged by the noise between stored sessions. docs/custom-metrics.md has examples.

        Args:
            name: letters, digits and underscores, with dots between parts; not the name of a metric in docs/metrics.md.
            value: a function of a measurement that returns a number or several, or the number or list itself.
            better: which direction is an improvement.
            unit: a short text; s, B and share are shown as those of other metrics are.
            exact: whether noise cannot move it, so that any difference counts.
            run: what `measure` returned; default: the newest measurement of the test.

        Raises:
            SpecError: for an invalid name, unit, direction or value, without a measurement, or after its check.
        """
        __tracebackhide__ = True
        metric = Declared.create(name, unit=unit, better=better, exact=exact, once=not callable(value))
        where = f"{self._test.nodeid}: record({name!r})"
        if reason := name_taken(name):
            raise SpecError(f"{where}: {reason}")
        if run is not None:
            check_measurement(run, "record", "run=")
        elif not self._test.measured:
            raise SpecError(
                f"{where}: there is no measurement to add it to; call vllmperf.measure() first, or pass run="
            )
        of = self._test.measured[-1] if run is None else run
        made = Recording(metric, value) if callable(value) else Recording(metric, values=tuple(checked(metric, value)))
        site = Site(where, line_above(inspect.currentframe()))
        self._test.recordings.add(site, of, made, checked=self._test.is_checked(of))
