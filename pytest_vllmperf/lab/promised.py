"""A measurement with the goodput of a promise among its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.reduce import promised_samples
from pytest_vllmperf.records.run import RunResult
from pytest_vllmperf.records.samples import EngineSamples, Environment
from pytest_vllmperf.records.served import Slo


def promised(run: Measurement, slo: Slo | None) -> Measurement:
    """The same measurement, with goodput as a metric, also of the engines that will be measured again.

    What was promised is one of the keys that must match: the goodput of another promise is another figure.

    Args:
        run: with its requests; one that holds none stays as it is.
        slo: the promise; None for none.
    """
    if slo is None or len(run.iterations) != len(run.engines):
        return run
    made, reference = run.made_with, run.reference
    return replace(
        run,
        engines=_engines(run.engines, run.iterations, slo),
        environment=_environment(run.environment, slo),
        made_with=replace(made, slo=slo) if isinstance(made, Take) else made,
        reference=reference
        and replace(
            reference,
            engines=_engines(reference.engines, run.reference_iterations, slo),
            environment=_environment(reference.environment, slo),
        ),
    )


def _engines(
    engines: Sequence[EngineSamples], iterations: Sequence[Sequence[RunResult]], slo: Slo
) -> tuple[EngineSamples, ...]:
    return tuple(
        engine.model_copy(update={"samples": {**engine.samples, **promised_samples(results, slo)}})
        for engine, results in zip(engines, iterations, strict=True)
    )


def _environment(environment: Environment, slo: Slo) -> Environment:
    hard = {**environment.hard, "promise": slo.key}
    return environment.model_copy(update={"hard": dict(sorted(hard.items()))})
