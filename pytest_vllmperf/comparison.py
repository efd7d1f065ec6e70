"""What `compare` returns: two engines measured in rounds, and assertions about them that ask for more when needed."""

from __future__ import annotations

import time
from collections.abc import Callable

from pytest_vllmperf.errors import NotMeasuredError, SpecError
from pytest_vllmperf.metrics.records import Measurement
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.outcome import fail
from pytest_vllmperf.report import verdicts
from pytest_vllmperf.verdict import Claim, ClaimOutcome, Comparison, compare

Round = Callable[[], tuple[Measurement, Measurement]]
"""Starts a fresh engine of both kinds and measures them in turns."""


class EngineComparison:
    """Two engines, measured in turns; each round on a fresh engine of both.

    Args:
        measure_round: measures one.
        max_rounds: how many an assertion may have.
        max_time: seconds that an assertion may spend on further rounds.
        clock: in seconds.
    """

    def __init__(
        self,
        measure_round: Round,
        max_rounds: int,
        max_time: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._measure_round = measure_round
        self._max_rounds = max_rounds
        self._max_time = max_time
        self._clock = clock
        self._a, self._b = self._sound_round()

    @property
    def a(self) -> Measurement:
        """The first engine's measurement, all rounds together."""
        return self._a

    @property
    def b(self) -> Measurement:
        """The reference's measurement, all rounds together."""
        return self._b

    def speedup(self, metric: str = "output_throughput") -> Comparison:
        """How many times better `a` is, with its 99 % interval; above 1 always means that `a` wins.

        Args:
            metric: which metric; where lower is better, the ratio is turned round.

        Raises:
            NotMeasuredError: when either engine did not observe the metric, or a sample is zero.
        """
        if metric not in METRICS:
            raise NotMeasuredError(f"no metric is called {metric!r}")
        sides = [side.samples(metric) for side in (self._a, self._b)]
        if len(sides[0]) != len(sides[1]) or not sides[0]:
            raise NotMeasuredError(f"{METRICS[metric].label} was not measured on both engines")
        if any(value <= 0 for side in sides for engine in side for value in engine):
            raise NotMeasuredError(f"{METRICS[metric].label} has a sample of zero, which makes no ratio")
        return compare(metric, METRICS[metric].better, *sides)

    def assert_speedup(self, ratio: float, metric: str = "output_throughput") -> Comparison:
        """Fail the test unless `a` is shown to be at least `ratio` times better.

        It fails as REFUTED where the interval lies below, and as INCONCLUSIVE, with the rounds that would decide it,
        where the interval still holds `ratio` after all rounds.

        Args:
            ratio: what the lower bound of the 99 % interval has to reach.
            metric: which metric; where lower is better, the ratio is turned round.

        Raises:
            NotMeasuredError: when either engine did not observe the metric.
            SpecError: for a ratio that is not a positive number.
        """
        __tracebackhide__ = True
        return self._assert("assert_speedup", metric, lambda found: found.at_least(ratio))

    def assert_not_slower(self, margin: float = 0.05, metric: str = "output_throughput") -> Comparison:
        """Fail the test unless `a` is shown to be at most `margin` worse.

        Args:
            margin: a fraction; the lower bound of the 99 % interval has to reach 1 - margin.
            metric: which metric; where lower is better, the ratio is turned round.

        Raises:
            NotMeasuredError: when either engine did not observe the metric.
            SpecError: for a margin that is not at least 0 and below 1.
        """
        __tracebackhide__ = True
        return self._assert("assert_not_slower", metric, lambda found: found.not_slower(margin))

    def _assert(self, name: str, metric: str, claim: Callable[[Comparison], Claim]) -> Comparison:
        __tracebackhide__ = True
        deadline, longest = self._clock() + self._max_time, 0.0
        while True:
            found = self.speedup(metric)
            try:
                claimed = claim(found)
            except ValueError as error:
                raise SpecError(f"{name}: {error}") from None
            spent = found.rounds >= self._max_rounds or self._clock() + longest >= deadline
            if claimed.outcome is not ClaimOutcome.INCONCLUSIVE or spent:
                break
            started = self._clock()
            self._add_round()
            longest = max(longest, self._clock() - started)
        if claimed.outcome is not ClaimOutcome.SHOWN:
            fail(verdicts.claim_line(found, claimed, self._a.value(metric), self._b.value(metric)))
        return found

    def _add_round(self) -> None:
        a, b = self._sound_round()
        self._a, self._b = self._a.with_engines_of(a), self._b.with_engines_of(b)

    def _sound_round(self) -> tuple[Measurement, Measurement]:
        __tracebackhide__ = True
        sides = self._measure_round()
        for side in sides:
            if side.problems:
                fail(f"INVALID  {side.spec_label}: {'; '.join(side.problems)}")
        return sides
