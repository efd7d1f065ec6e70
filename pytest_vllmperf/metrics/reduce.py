"""From what an engine reported of its iterations to samples per metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pytest_vllmperf.metrics.kernel_names import kernel_tables
from pytest_vllmperf.metrics.observed import EngineStart, Iteration, PassIteration
from pytest_vllmperf.metrics.roofline import Roofline
from pytest_vllmperf.metrics.table import CLOCK_METRICS, DECLARATIONS, METRICS, AllMetrics
from pytest_vllmperf.records.devices import GpuUse
from pytest_vllmperf.records.engine import EngineFacts
from pytest_vllmperf.records.kernels import DevicePass
from pytest_vllmperf.records.run import RunResult
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.served import Slo


@dataclass(frozen=True)
class DeviceObservation:
    """What was seen of an engine's devices, from outside of it.

    Attributes:
        uses: what they did in each measured iteration; empty where nobody looked.
        engine_bytes: their memory that the engine held afterwards; None where that is not known.
        bandwidth: bytes/s of their memory, together; None where unknown.
    """

    uses: tuple[GpuUse | None, ...] = ()
    engine_bytes: int | None = None
    bandwidth: float | None = None


def iteration_metrics(
    result: RunResult, use: GpuUse | None = None, roofline: Roofline | None = None, slo: Slo | None = None
) -> dict[str, float]:
    """Every metric that one iteration shows; a metric that was not observed is absent.

    Args:
        result: one iteration; requests that did not finish count for nothing.
        use: what the devices did meanwhile; None where nobody looked.
        roofline: of the engine; None where it is unknown.
        slo: what was promised of each request; None where nothing was.

    Returns:
        Metric name -> value in its unit.
    """
    iteration = Iteration(result, use, roofline, slo)
    return {name: value for one in DECLARATIONS for name, value in one.shown(iteration).items()}


def engine_samples(
    facts: EngineFacts,
    warmup: Sequence[RunResult],
    iterations: Sequence[RunResult],
    *,
    cold_start: bool = False,
    device: DeviceObservation | None = None,
) -> EngineSamples:
    """What one engine start showed, ready to be judged and stored.

    Args:
        facts: what the engine reported of itself.
        warmup: the discarded iterations, in order.
        iterations: the measured iterations, in order; at least one.
        cold_start: whether it was the first start of this engine in the run.
        device: what was seen of its devices; None on a CPU.
    """
    device = device or DeviceObservation()
    roofline = Roofline.of(facts, device.bandwidth)
    uses = device.uses or (None,) * len(iterations)
    counted = [iteration_metrics(result, use, roofline) for result, use in zip(iterations, uses, strict=True)]
    start = EngineStart(facts, cold_start, device.engine_bytes)
    once = {name: _digits(value) for one in DECLARATIONS for name, value in one.shown_by_start(start).items()}
    return EngineSamples(
        cold_start=cold_start,
        discarded=len(warmup),
        iterations=len(iterations),
        warmup=_by_metric([iteration_metrics(result) for result in warmup], CLOCK_METRICS),
        samples=_by_metric(counted),
        once=once,
        ttft_by_request=[_digits(value) for value in AllMetrics.ttft.by_request(iterations)],
    )


def with_device_pass(
    engine: EngineSamples, counted: Sequence[RunResult], found: DevicePass, uses: Sequence[GpuUse | None] = ()
) -> EngineSamples:
    """The samples of an engine start, with what its device pass showed.

    Args:
        engine: without one.
        counted: its measured iterations.
        found: the device pass.
        uses: what NVML told of the devices in each of its iterations; empty where nobody looked.
    """
    duration = median(Iteration(result).duration for result in counted) if counted else 0.0
    looked = uses or (None,) * len(found.iterations)
    shown = [PassIteration(one, duration, use) for one, use in zip(found.iterations, looked, strict=True)]
    values = [{name: value for one in DECLARATIONS for name, value in one.shown_by_pass(it).items()} for it in shown]
    update = {
        "passes": _by_metric(values),
        "kernels": kernel_tables(found.iterations),
        "no_device_pass": found.reason,
    }
    return engine.model_copy(update=update)


def promised_samples(iterations: Sequence[RunResult], slo: Slo) -> dict[str, list[float]]:
    """Samples of the metrics that a promise makes, by name; a metric that an iteration does not show is absent.

    Args:
        iterations: the measured iterations of one engine, in order.
        slo: the promise.
    """
    shown = [iteration_metrics(result, slo=slo) for result in iterations]
    return _by_metric(shown, [AllMetrics.goodput.name, AllMetrics.goodput_rate.name])


def _by_metric(iterations: Sequence[Mapping[str, float]], wanted: Iterable[str] = METRICS) -> dict[str, list[float]]:
    """Only metrics that every iteration shows: samples of one metric must belong to known iterations."""
    shown = set(wanted).intersection(*(set(values) for values in iterations)) if iterations else set()
    return {name: [_digits(values[name]) for values in iterations] for name in sorted(shown)}


def _digits(value: float) -> float:
    """Seven significant digits, far below any noise, so that a stored file can be read by a person.

    Whole numbers keep all of theirs: bytes and counters are exact.
    """
    return float(value) if float(value).is_integer() else float(f"{value:.7g}")
