"""Arrivals: when the requests of a workload are due. Pure; a schedule is made before the first request is sent."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from pytest_vllmperf.errors import WorkloadError, did_you_mean

PROCESSES: Final = ("closed", "constant", "poisson", "gamma", "ramp", "trace")
_WITH_RATE: Final = ("constant", "poisson", "gamma", "ramp")
_LOWEST, _HIGHEST = 1e-6, 1e6
_NS: Final = 1_000_000_000


@dataclass(frozen=True)
class Arrivals:
    """When requests are due.

    Attributes:
        process: `closed` (a request is sent when another has ended), `constant`, `poisson`, `gamma`, `ramp` or `trace`.
        rate: requests a second; of a ramp the first. None for `closed` and `trace`.
        burstiness: the shape of gamma-distributed gaps: 1 is a Poisson process, less comes in bursts.
        end_rate: requests a second that a ramp ends at.
        due: seconds of each request from the start, for `trace`.

    Raises:
        WorkloadError: for an unknown process, a rate that is missing or out of range, or times that decrease.
    """

    process: str = "closed"
    rate: float | None = None
    burstiness: float = 1.0
    end_rate: float | None = None
    due: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.process not in PROCESSES:
            known = ", ".join(map(repr, PROCESSES))
            near = did_you_mean(self.process, PROCESSES) if isinstance(self.process, str) else ""
            raise WorkloadError(f"arrivals={self.process!r} must be one of {known}{near}")
        _check("rate", self.rate, wanted=self.process in _WITH_RATE)
        _check("ramp_to", self.end_rate, wanted=self.process == "ramp")
        _check("burstiness", self.burstiness, wanted=True)
        if self.burstiness != 1 and self.process != "gamma":
            raise WorkloadError(
                f"burstiness={self.burstiness!r} is valid only for gamma arrivals, not for {self.process!r}"
            )
        if bool(self.due) != (self.process == "trace"):
            raise WorkloadError("due= (a time for each request) is required for a trace and valid only for a trace")
        _check_clock(self.due)

    @property
    def open_loop(self) -> bool:
        """Whether requests are due at times of their own, whatever the server does."""
        return self.process != "closed"

    def schedule(self, requests: int, seed: int) -> tuple[int, ...] | None:
        """When each request is due: nanoseconds from the start, in order; None for a closed loop.

        The first request is always due at 0. With N requests and the rate r:

        - `constant`: request i is due at i / r.
        - `poisson`, `gamma`: gaps are drawn from a gamma distribution of the shape `burstiness` (1 for `poisson`) and
          the mean 1 / r, as `vllm bench serve` does. They are scaled so that the last request is due at (N - 1) / r:
          the offered rate is the rate that was asked for, and does not depend on the seed.
        - `ramp`: the rate goes linearly from r0 = `rate` to r1 = `end_rate` within T = 2 N / (r0 + r1) seconds, so
          N(t) = r0 t + (r1 - r0) t^2 / (2 T) requests are due before t. Request i is due where N(t) = i:
          t = 2 i / (r0 + sqrt(r0^2 + (r1^2 - r0^2) i / N)).
        - `trace`: the times of the trace.

        Args:
            requests: how many.
            seed: of random gaps; the same schedule for the same seed.

        Raises:
            WorkloadError: for a trace of another length.
        """
        if self.process == "closed":
            return None
        if self.process == "trace":
            if requests != len(self.due):
                raise WorkloadError(f"the trace has times for {len(self.due)} requests, not for {requests}")
            return _nanoseconds(self.due)
        assert self.rate is not None
        if self.process == "constant":
            return _nanoseconds([index / self.rate for index in range(requests)])
        if self.process == "ramp":
            assert self.end_rate is not None
            return _nanoseconds(_ramp(requests, self.rate, self.end_rate))
        return _nanoseconds(_random(requests, self.rate, self.burstiness, seed))

    def settings(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON."""
        own = ((field, getattr(self, field.name)) for field in fields(self))
        return {field.name: value for field, value in own if value != field.default}


def _check(name: str, value: object, *, wanted: bool) -> None:
    if value is None and not wanted:
        return
    if not wanted:
        raise WorkloadError(f"{name}={value!r} is not valid for these arrivals")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not _LOWEST <= value <= _HIGHEST:  # type: ignore[operator]
        raise WorkloadError(f"{name}={value!r} must be a number between {_LOWEST:g} and {_HIGHEST:g}")


def _check_clock(due: Sequence[float]) -> None:
    before = 0.0
    for index, seconds in enumerate(due):
        if not math.isfinite(seconds) or seconds < before:
            raise WorkloadError(
                f"request {index} is due at {seconds} s, but the request before it at {before} "
                f"s; times must start at 0 or later and never decrease"
            )
        before = seconds


def _nanoseconds(seconds: Sequence[float]) -> tuple[int, ...]:
    return tuple(round(one * _NS) for one in seconds)


def _ramp(requests: int, first: float, last: float) -> list[float]:
    growth = (last**2 - first**2) / max(requests, 1)
    return [2 * i / (first + math.sqrt(first**2 + growth * i)) for i in range(requests)]


def _random(requests: int, rate: float, shape: float, seed: int) -> list[float]:
    # A stream of its own, so that gaps are not a function of the tokens that the same seed draws. Python's generator,
    # as it keeps its sequences over versions, which numpy's does not promise.
    draw = random.Random(f"arrivals {seed}")  # noqa: S311 - reproducible, not secret
    gaps = [draw.gammavariate(shape, 1.0) for _ in range(requests - 1)]
    total = math.fsum(gaps)
    if gaps and not total:  # a tiny shape: all gaps but one vanish, and here that one has as well
        gaps[draw.randrange(len(gaps))] = total = 1.0
    span = (requests - 1) / rate
    due, passed = [0.0] * min(requests, 1), 0.0
    for gap in gaps:
        passed += gap
        due.append(min(passed / total, 1.0) * span)
    return due


CLOSED: Final = Arrivals()
