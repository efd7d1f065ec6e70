"""A measurement with the goodput of a promise among its metrics."""

from __future__ import annotations

from dataclasses import replace

from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.reduce import promised_samples
from pytest_vllmperf.records.served import Slo


def promised(run: Measurement, slo: Slo | None) -> Measurement:
    """The same measurement, with goodput as a metric, also of the engines that will be measured again.

    Args:
        run: with its requests; one that holds none stays as it is.
        slo: the promise; None for none.
    """
    if slo is None or len(run.iterations) != len(run.engines):
        return run
    engines = tuple(
        engine.model_copy(update={"samples": {**engine.samples, **promised_samples(results, slo)}})
        for engine, results in zip(run.engines, run.iterations, strict=True)
    )
    made = run.made_with
    return replace(run, engines=engines, made_with=replace(made, slo=slo) if isinstance(made, Take) else made)
