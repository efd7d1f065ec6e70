"""What a point's samples say of a promise: how much goodput, and whether enough requests kept it. Pure.

Goodput is requests/s that kept the promise. Failed requests keep none, and count among all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import Final

from scipy.stats import beta

from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.records.sweep import PointResult

RATE: Final = "goodput_rate"
SHARE: Final = "goodput"
_ERROR: Final = 0.05
_FINEST: Final = 1e-9
"""A share is stored with seven digits."""


@dataclass(frozen=True)
class Promise:
    """A promise, and how many requests have to keep it.

    Attributes:
        slo: on each request.
        share: of all requests.
    """

    slo: Slo
    share: float

    def kept_by(self, share: float | None) -> bool:
        """Whether so many requests are enough; none at all are not."""
        return share is not None and share >= self.share - _FINEST

    def score(self, one: PointResult) -> float | None:
        """What a search goes by, on the first engine alone: goodput where the promise is kept, else below zero.

        Points that break the promise are ordered by how many requests kept it. None where the point failed or is void.
        """
        first = () if one.problems else one.engines[:1]  # one that failed when it was measured again keeps its score
        share, rate = level(first, SHARE), level(first, RATE)
        if share is None or rate is None:
            return None
        return rate if self.kept_by(share) else share - 1.0


def least_share(share: float, requests: int) -> float | None:
    """The share of requests that keep the promise at least, with 95 %; None without requests.

    The lower bound of C. Clopper and E. Pearson, Biometrika 26, 1934. It takes requests for independent; where those of
    an engine are late together, less is certain.

    Args:
        share: of the requests that were sent, those that kept it.
        requests: that were sent.
    """
    if requests <= 0:
        return None
    kept = round(share * requests)
    return float(beta.ppf(_ERROR, kept, requests - kept + 1)) if kept else 0.0


def replicates(one: PointResult, most: int) -> tuple[EngineSamples, ...]:
    """The engines that did not take part in the search, the first ones of them; none for a point that failed."""
    return one.engines[1 : 1 + most] if one.sound else ()


def levels(engines: Sequence[EngineSamples], metric: str) -> list[float]:
    """For each engine the mean over its iterations: a median would hide the iteration that broke the promise."""
    return [fsum(values) / len(values) for engine in engines if (values := engine.values(metric))]


def level(engines: Sequence[EngineSamples], metric: str) -> float | None:
    """The mean over engines; None without any."""
    found = levels(engines, metric)
    return fsum(found) / len(found) if found else None
