"""Searches for the highest rate of arrivals that keeps a promise, on one engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from statistics import mean

from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.errors import SpecError, WorkloadError
from pytest_vllmperf.lab.driving import Driver, OnIteration
from pytest_vllmperf.metrics.promises import goodput
from pytest_vllmperf.records.rates import FoundRate, RateSearch, TriedRate
from pytest_vllmperf.records.run import EngineRun, MeasureSettings, RunResult
from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.stats.rates import crossing, highest_rate, saturated
from pytest_vllmperf.workload import Request, Workload

_START_SHARE = 0.25
"""The first rate that is tried, as a share of what a closed loop of all requests reaches."""
_MOST_DOUBLINGS = 8
_ALONE = 0.25
"""Requests in flight at once on average (Little's law) below which the rate is no reason for a broken promise."""
_INNER_RATES = 3
"""Rates that are tried between the last that kept the promise and the first that did not."""
_ARRIVALS = ("poisson", "constant")
_NO_REQUESTS = RunResult((), (), None, None, None, None, None, 0.0)


@dataclass(frozen=True)
class Searched:
    """What a search on one engine came to.

    Attributes:
        run: an iteration for each replicate, with its own estimate; they hold no requests.
        probes: the iterations that it was made of, with their requests.
        rate: what was found, from all replicates, and all that was tried.
    """

    run: EngineRun
    probes: tuple[RunResult, ...]
    rate: FoundRate


class _Search:
    """One search; it remembers what was tried."""

    def __init__(
        self, engine: Engine, workload: Workload, settings: MeasureSettings, search: RateSearch, tell: OnIteration
    ) -> None:
        self.engine, self.workload, self.settings, self.search, self.tell = engine, workload, settings, search, tell
        self.probes: list[RunResult] = []
        self.shares: dict[float, list[float]] = {}
        self.saturated: set[float] = set()
        self.warmup: list[RunResult] = []
        self.requests: tuple[Request, ...] = ()

    def capacity(self) -> float:
        """Requests/s of a closed loop with everything in flight, after warm-up."""
        driver = Driver(self.engine, self.workload.at(concurrency=self.workload.count), self.settings.client_processes)
        self.requests = driver.requests
        while (warm := self.settings.discarded(self.warmup)) is None or len(self.warmup) <= warm:
            self.tell(f"warm-up {len(self.warmup) + 1}")
            self.warmup.append(driver.iterate())
        begin, end = self.warmup[-1].span
        if end <= begin:
            raise WorkloadError(f"{self.engine.spec.name}: no request finished, so the highest rate cannot be searched")
        return len(self.warmup[-1].finished) / (end - begin)

    def probe(self, rate: float) -> float:
        """Send the workload at a rate once more; the share of requests that kept the promise.

        It is zero where requests piled up: with more of them, all would wait too long.
        """
        number = len(self.shares.setdefault(rate, []))
        self.tell(f"{rate:.3g} requests/s, replicate {number + 1}")
        arriving = replace(self.workload.at(rate=rate, arrivals=self.search.arrivals), seed=self.workload.seed + number)
        result = Driver(self.engine, arriving, self.settings.client_processes).iterate()
        self.probes.append(result)
        served = result.served
        piles_up = served is not None and saturated(_while_arriving(served.in_flight, result), rate)
        if piles_up:
            self.saturated.add(rate)
        share = 0.0 if piles_up else goodput(result, self.search.slo) or 0.0
        self.shares[rate].append(share)
        return share

    def keeps(self, rate: float) -> bool:
        """Whether a rate keeps the promise at its first try."""
        return self.probe(rate) >= self.search.goodput

    def bracket(self, capacity: float) -> tuple[float, float]:
        """The highest rate of a doubling series that keeps the promise, and the next that does not."""
        rate = capacity * _START_SHARE
        if self.keeps(rate):
            for _ in range(_MOST_DOUBLINGS):
                if not self.keeps(rate * 2):
                    return rate, rate * 2
                rate *= 2
            return rate, rate
        for _ in range(_MOST_DOUBLINGS):
            if self._alone(rate):
                break
            if self.keeps(rate / 2):
                return rate / 2, rate
            rate /= 2
        return rate, rate

    def _alone(self, rate: float) -> bool:
        """Whether requests of the last probe were mostly alone: what they do not keep then, no lower rate keeps."""
        took = [one.last_token_ts - one.queued_ts for one in self.probes[-1].finished]
        return bool(took) and rate * mean(took) < _ALONE

    def replicate(self, rates: Sequence[float], wanted: int) -> None:
        """Try each of these rates until it has as many replicates as are wanted, in turns."""
        for number in range(wanted):
            for rate in rates:
                if len(self.shares.get(rate, ())) <= number:
                    self.probe(rate)


def find_rate(
    engine: Engine, workload: Workload, settings: MeasureSettings, search: RateSearch, on_iteration: OnIteration
) -> Searched:
    """Find the highest rate that keeps a promise: an exponential bracket, then replicates and an isotonic fit.

    Args:
        engine: running, driven over HTTP.
        workload: what each probe sends; its own arrivals do not count.
        settings: how long the engine is warmed up.
        search: the promise, and how it is searched.
        on_iteration: told before each probe.

    Raises:
        WorkloadError: when it does not fit the engine, or nothing finishes.
        EngineError: when the engine fails on the way.
    """
    one = _Search(engine, workload, settings, search, on_iteration)
    low, high = one.bracket(one.capacity())
    step = (high - low) / (_INNER_RATES + 1)
    inner = sorted({low, high, *(low + step * number for number in range(1, _INNER_RATES + 1))})
    bracketed = low < high  # else no rate keeps the promise, or all do, and more of the same tell nothing
    one.replicate(inner, search.replicates if bracketed else 1)
    rates = sorted(one.shares)  # what was tried on the way is evidence too: one replicate serves all estimates
    shares = [one.shares[rate] for rate in rates]
    count = max(map(len, shares))
    each = [
        crossing(rates, [found[min(number, len(found) - 1)] for found in shares], search.goodput)
        for number in range(count)
    ]
    iterations = tuple(replace(_NO_REQUESTS, max_rate=rate) for rate in each)
    tried = tuple(TriedRate(rate, tuple(one.shares[rate]), rate in one.saturated) for rate in sorted(one.shares))
    run = EngineRun(engine.facts, one.requests, tuple(one.warmup), iterations)
    found = highest_rate(rates, shares, search.goodput)
    return Searched(run, tuple(one.probes), FoundRate(**asdict(found), tried=tried))


def rate_search(slo: Slo, goodput: float, replicates: object, arrivals: str, requests: int) -> RateSearch:
    """What is searched for, checked.

    Args:
        slo: the promise.
        goodput: share of requests that have to keep it.
        replicates: how often each rate is tried.
        arrivals: the arrival process.
        requests: of the workload.

    Raises:
        SpecError: for a number of replicates or an arrival process that is not valid.
        WorkloadError: for so few requests that a single one decides.
    """
    if not isinstance(replicates, int) or isinstance(replicates, bool) or replicates < 1:
        raise SpecError(f"replicates={replicates!r} must be a whole number of at least 1")
    if arrivals not in _ARRIVALS:
        raise SpecError(f"arrivals={arrivals!r} is not valid; choose one of {', '.join(_ARRIVALS)}")
    if goodput < 1 and requests * replicates * (1 - goodput) < 1:
        raise WorkloadError(
            f"{requests} requests x {replicates} replicates are too few for goodput={goodput:g}, because a "
            f"single request would decide. Send at least {ceil(1 / (1 - goodput) / replicates)}"
        )
    return RateSearch(slo, goodput, replicates, arrivals)


def unusable(found: FoundRate, search: RateSearch) -> str:
    """Why what was found is no highest rate; empty where it is one."""
    if not found.reached:
        low = min(one.rate for one in found.tried)
        return (
            f"no rate meets the SLO ({search.key}): even {low:.3g} requests/s does not. Relax the SLO, or "
            f"make the engine faster"
        )
    if not found.bounded:
        high = max(one.rate for one in found.tried)
        return (
            f"all rates tried, up to {high:.3g} requests/s, meet the SLO ({search.key}). Send more requests at "
            f"each rate, or use a stricter SLO"
        )
    return ""


def _while_arriving(in_flight: Sequence[tuple[int, int]], result: RunResult) -> list[tuple[int, int]]:
    """The part of it until the last request was due."""
    last = max((one.answer.due_ns for one in result.requests if one.answer is not None), default=0)
    return [(time, count) for time, count in in_flight if time <= last]
