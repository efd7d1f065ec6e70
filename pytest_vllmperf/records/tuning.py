"""What a search for the engine arguments with the highest goodput came to."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.records.sweep import Values


@dataclass(frozen=True)
class Tried:
    """One engine of the search at its best load, as its first engine measured it.

    Attributes:
        settings: the value of each axis; empty values where it is the engine with its default arguments.
        rate: goodput, requests/s; None where the point failed or is void.
        share: of all requests, those that kept the promise; None where the point failed or is void.
        words: what else is to be said, such as `out of memory`.
        keeps: whether enough requests kept the promise.
    """

    settings: Values
    rate: float | None
    share: float | None
    words: str
    keeps: bool


@dataclass(frozen=True)
class Contender:
    """A point that was measured again, by its replicates alone.

    Attributes:
        settings: the value of each axis.
        rate: goodput, requests/s; the mean over the replicates.
        share: of all requests of the replicates, those that kept the promise.
        ttft: seconds, p50; the median over the replicates; None where it was not measured.
        engines: how many replicates.
        keeps: whether enough requests kept the promise.
        ratio: its goodput over that of the best; None for the best, and where there is none to compare.
        low: lower end of the interval of the ratio.
        high: upper end.
        requests: that were sent to the replicates.
    """

    settings: Values
    rate: float
    share: float
    ttft: float | None
    engines: int
    keeps: bool
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    requests: int = 0


@dataclass(frozen=True)
class Gain:
    """The recommended point against the engine with its default arguments.

    Attributes:
        settings: of the default engine, with the load at which it was measured.
        rate: its goodput, requests/s; None where it could not be measured.
        share: of all requests, those that kept the promise there.
        keeps: whether enough did.
        words: why there is no ratio; empty where there is one.
        ratio: goodput of the recommended point over its own.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    settings: Values
    rate: float | None
    share: float | None
    keeps: bool
    words: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def real(self) -> bool:
        """Whether the recommended point has more goodput beyond doubt."""
        return self.low is not None and self.low > 1


@dataclass(frozen=True)
class Best:
    """The point that is recommended.

    Attributes:
        point: it.
        low: lower end of the 95 % interval of its goodput, requests/s.
        high: upper end.
        spec: its engine.
        default: whether that is the engine with its default arguments.
        at_end: whether its load is the largest that was tried: a larger one may have more goodput.
        decided: whether every other is worse, or better by no more than the margin.
        alike: settings of those that cannot be told apart from the best.
        gains: against the default arguments at the same load, and at their own best load where that is another.
        least_share: so many requests keep the promise at least, with 95 %; None where it is unknown how many were sent.
    """

    point: Contender
    low: float | None
    high: float | None
    spec: EngineSpec
    default: bool
    at_end: bool
    decided: bool
    alike: tuple[Values, ...] = ()
    gains: tuple[Gain, ...] = ()
    least_share: float | None = None


@dataclass(frozen=True)
class Tuned:
    """All that a search came to.

    Attributes:
        name: of the engine with its default arguments, for a person.
        slo: the promise.
        share: of requests that have to keep it.
        tried: one for each engine, the default one first, then in the order of the search.
        engines: engines of the whole grid.
        points: that were measured.
        starts: engines that were started for them, replicates among them.
        contenders: that were measured again, the best goodput first.
        best: the recommendation; None where no point keeps the promise.
        nearest: where none does, the point that came nearest; None where nothing was measured.
        failed: why points failed or are void, with how many.
    """

    name: str
    slo: Slo
    share: float
    tried: tuple[Tried, ...]
    engines: int
    points: int
    starts: int
    contenders: tuple[Contender, ...] = ()
    best: Best | None = None
    nearest: Tried | None = None
    failed: tuple[tuple[str, int], ...] = field(default=())
