"""A search for the highest rate that keeps a promise: what is searched for, and what was tried."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_vllmperf.records.served import Slo


@dataclass(frozen=True)
class RateSearch:
    """What is searched for.

    Attributes:
        slo: the promise on each request.
        goodput: share of requests that have to keep it.
        replicates: how often each rate of the final fit is tried.
        arrivals: the arrival process, `poisson` or `constant`.
    """

    slo: Slo
    goodput: float = 0.99
    replicates: int = 3
    arrivals: str = "poisson"

    @property
    def key(self) -> str:
        """What has to be the same for two searches to be compared."""
        return f"{self.slo.key} goodput={self.goodput:g} {self.arrivals}"


@dataclass(frozen=True)
class TriedRate:
    """One rate that was tried.

    Attributes:
        rate: requests/s.
        shares: of requests that kept the promise, for each replicate.
        saturated: whether requests piled up at it.
    """

    rate: float
    shares: tuple[float, ...]
    saturated: bool


@dataclass(frozen=True)
class FoundRate:
    """What a search came to on one engine.

    Attributes:
        rate: the highest rate that keeps the promise, requests/s.
        low: lower end of its 95 % interval.
        high: upper end of it.
        bounded: whether a rate was tried that does not keep it.
        reached: whether any rate that was tried keeps it.
        tried: all rates, ascending.
    """

    rate: float
    low: float
    high: float
    bounded: bool
    reached: bool
    tried: tuple[TriedRate, ...]
