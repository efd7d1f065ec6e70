"""Makes arrivals of the arguments of `Workload.at`; a combination that makes no sense is refused in one line."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from pytest_vllmperf.errors import WorkloadError, did_you_mean
from pytest_vllmperf.workload.arrivals import CLOSED, Arrivals
from pytest_vllmperf.workload.entries import shown
from pytest_vllmperf.workload.lengths import check_optional_count

OPEN: Final = ("poisson", "constant", "gamma", "ramp")


def arrivals_at(
    before: Arrivals,
    concurrency: int | None,
    rate: float | None,
    arrivals: str,
    burstiness: float,
    ramp_to: float | None,
    speed: float | None,
) -> Arrivals:
    """When requests are due, by the arguments of `Workload.at`.

    Args:
        before: kept where neither concurrency nor rate is given.
        concurrency: makes a closed loop.
        rate: makes an open loop.
        arrivals: its process.
        burstiness: of gamma.
        ramp_to: of a ramp.
        speed: of a trace.

    Raises:
        WorkloadError: for values that are not valid, or do not belong together.
    """
    check_optional_count("concurrency", concurrency)
    if concurrency is not None and rate is not None:
        raise WorkloadError(f"at() takes concurrency= or rate=, not both: {concurrency=}, {rate=}")
    if rate is None:
        _check_no_process(arrivals=(arrivals, "poisson"), burstiness=(burstiness, 1.0), ramp_to=(ramp_to, None))
    if speed is not None:
        if concurrency is not None or rate is not None or before.process != "trace":
            raise WorkloadError(
                f"speed={shown(speed)} scales the times of a trace and cannot be combined with other timing"
            )
        return faster(before, speed)
    if rate is not None:
        return _at_rate(rate, arrivals, burstiness, ramp_to)
    return before if concurrency is None else CLOSED


def _check_no_process(**given: tuple[object, object]) -> None:
    for name, (value, default) in given.items():
        if value != default:
            raise WorkloadError(f"{name}={shown(value)} needs a rate=")


def _at_rate(rate: float, arrivals: str, burstiness: float, ramp_to: float | None) -> Arrivals:
    if arrivals not in OPEN:
        near = did_you_mean(arrivals, OPEN) if isinstance(arrivals, str) else ""
        raise WorkloadError(f"arrivals={shown(arrivals)} must be one of {', '.join(map(repr, OPEN))}{near}")
    if (ramp_to is not None) != (arrivals == "ramp"):
        raise WorkloadError("arrivals='ramp' and ramp_to= go together: a ramp needs its final rate")
    made = Arrivals(arrivals, rate, burstiness, ramp_to)
    # 8 and 8.0 are one rate, and one key.
    return replace(made, rate=float(rate), burstiness=float(burstiness), end_rate=ramp_to and float(ramp_to))


def faster(trace: Arrivals, speed: float) -> Arrivals:
    """A trace whose clock runs `speed` times as fast.

    Raises:
        WorkloadError: for a speed that is no number above 0.
    """
    check_positive("speed", speed)
    return replace(trace, due=tuple(seconds / speed for seconds in trace.due))


def check_positive(name: str, value: object) -> None:
    """Refuse what is no finite number above 0.

    Raises:
        WorkloadError: naming the parameter and the value.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:  # type: ignore[operator]
        raise WorkloadError(f"{name}={shown(value)} must be a number above 0")
