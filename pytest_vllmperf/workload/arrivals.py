"""Arrivals: when the requests of a workload are due. Pure; a schedule is made before the first request is sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arrivals:
    """When requests are due.

    Attributes:
        process: `closed` (a request is sent when another has ended), `constant`, `poisson`, `gamma`, `ramp` or `trace`.
        rate: requests a second; of a ramp the first. None for `closed` and `trace`.
        burstiness: the shape of gamma-distributed gaps: 1 is a Poisson process, less comes in bursts.
        end_rate: requests a second that a ramp ends at.
        due: seconds of each request from the start, for `trace`.
    """

    process: str = "closed"
    rate: float | None = None
    burstiness: float = 1.0
    end_rate: float | None = None
    due: tuple[float, ...] = ()

    @property
    def open_loop(self) -> bool:
        """Whether requests are due at times of their own, whatever the server does."""
        return self.process != "closed"

    def schedule(self, requests: int, seed: int) -> tuple[int, ...] | None:
        """When each request is due: nanoseconds from the start, in order; None for a closed loop.

        Args:
            requests: how many.
            seed: of random gaps; the same schedule for the same seed.

        Raises:
            WorkloadError: for a trace of another length.
        """
        raise NotImplementedError


CLOSED = Arrivals()
