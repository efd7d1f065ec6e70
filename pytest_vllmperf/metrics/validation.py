"""Whether stored samples can be what an engine showed: finite, positive where they have to be, and all there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from pytest_vllmperf.errors import SampleError
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import EngineSamples

SMALLEST, LARGEST = 1e-30, 1e30
"""Beyond these no figure of an engine lies, in whatever unit; between them, sums, squares and ratios are finite."""

_TTFT_BY_REQUEST = "ttft_by_request"


def check_engine(engine: EngineSamples, requests: int | None = None) -> None:
    """Check all samples of one engine.

    Args:
        engine: as read from a file.
        requests: of the workload; None where unknown.

    Raises:
        SampleError: for the first sample that is no finite number, negative, zero where there is no such value, or
            beyond `SMALLEST` and `LARGEST`; and for a count that does not fit. Its position is that of the sample in
            its list, from 0.
    """
    for name, values, count, of_what in _lists(engine, requests):
        if name not in METRICS and name != _TTFT_BY_REQUEST:
            raise SampleError(name, "no metric has this name")
        if name in METRICS and METRICS[name].custom is not (name in engine.recorded):
            raise SampleError(name, "only custom metrics are recorded ones, and the other way round")
        if count is not None and len(values) != count:
            raise SampleError(name, f"{len(values)} samples, but the file lists {count} {of_what}")
        zero = name in METRICS and METRICS[name].may_be_zero
        if _all_sound(values):
            continue
        position = next((i for i, value in enumerate(values) if not _sound(value, zero=zero)), None)
        if position is not None:
            raise SampleError(name, _problem(values[position], zero=zero), (position,))
    for kernel in (kernel for table in engine.kernels for kernel in table.all):
        if not (_sound(kernel.seconds, zero=True) and _sound(kernel.times, zero=False)):
            raise SampleError(f"kernel {kernel.name!r}", "its count or time is not a positive finite number")


def _lists(engine: EngineSamples, requests: int | None) -> Iterator[tuple[str, Sequence[float], int | None, str]]:
    """Every list of samples: its metric, its values, how many there should be, and of what."""
    yield from ((name, values, engine.iterations, "iterations") for name, values in engine.samples.items())
    yield from ((name, values, engine.discarded, "discarded iterations") for name, values in engine.warmup.items())
    once: Mapping[str, float] = engine.once
    yield from ((name, [value], 1, "value") for name, value in once.items())
    passes = max((len(values) for values in engine.passes.values()), default=0)
    yield from ((name, values, passes, "iterations of the device pass") for name, values in engine.passes.items())
    yield from ((name, values, max(1, len(values)), "values") for name, values in engine.recorded.items())
    if engine.ttft_by_request:
        yield _TTFT_BY_REQUEST, engine.ttft_by_request, requests, "requests"


def _all_sound(values: Sequence[float]) -> bool:
    """A quick look that finds most lists sound; the sum of a list with a NaN is one."""
    return not values or (math.isfinite(sum(values)) and min(values) >= SMALLEST and max(values) <= LARGEST)


def _sound(value: float, *, zero: bool) -> bool:
    return SMALLEST <= value <= LARGEST or (zero and value == 0)


def _problem(value: float, *, zero: bool) -> str:
    if math.isfinite(value) and value > 0:
        return f"{value!r} is out of range; samples must be between {SMALLEST:g} and {LARGEST:g}"
    return f"{value!r} is not a {'finite number of at least 0' if zero else 'positive finite number'}"
