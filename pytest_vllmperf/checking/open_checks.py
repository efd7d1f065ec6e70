"""Checks that want more engines than the first: one fresh engine at a time, shared by all that wait for its kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pytest_vllmperf.errors import VllmPerfError
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.samples import Session
from pytest_vllmperf.records.verdict import Verdict
from pytest_vllmperf.verdict import Evidence, VerdictSettings, judge
from pytest_vllmperf.workload import Workload


@dataclass(frozen=True)
class Take:
    """How a measurement was made, so that it can be made again.

    Attributes:
        target: the engine and where it runs.
        workload: what was sent.
        settings: how often.
        allowed: validity rules that are turned off.
    """

    target: Target
    workload: Workload
    settings: MeasureSettings
    allowed: tuple[str, ...] = ()


@dataclass
class OpenCheck:
    """One check on its way to a verdict, or to a recorded session.

    Attributes:
        take: how to measure again; None for a measurement that has to do as it is.
        measurement: what was measured so far, on all engines.
        baseline: the stored sessions.
        settings: gate and margins.
        differences: hard keys in which the environments differ, in words.
        judged: whether there will be a verdict; otherwise it is recorded.
        wanted: engines to measure before the first look.
        verdict: as it stands; None before the first look, or for a check that is recorded.
        error: what went wrong while it was measured again, such as an engine that died.
        closed: whether no further engine may come.
        spent: seconds that measuring it again took; what a fresh engine takes to start counts for the first on it.
    """

    take: Take | None
    measurement: Measurement
    baseline: Sequence[Session]
    settings: VerdictSettings
    differences: Sequence[str]
    judged: bool
    wanted: int = 1
    verdict: Verdict | None = field(default=None, init=False)
    error: VllmPerfError | None = field(default=None, init=False)
    closed: bool = field(default=False, init=False)
    spent: float = field(default=0.0, init=False)

    @property
    def open(self) -> bool:
        """Whether another engine would help."""
        if self.closed or self.error is not None or (self.verdict is not None and self.verdict.status.final):
            return False
        return self.verdict is not None or len(self.measurement.engines) < self.wanted

    def look(self, *, last: bool = False) -> None:
        """Judge what there is, once there is enough; a void measurement is judged at once.

        Args:
            last: no engine will follow.
        """
        self.closed = self.closed or last
        enough = last or len(self.measurement.engines) >= self.wanted
        void, comparable = self.measurement.problems, self.baseline and not self.differences
        if void or (self.judged and (enough or not comparable)):
            evidence = Evidence(
                self.baseline, self.measurement.engines, self.settings, void, self.differences, self.verdict, last
            )
            self.verdict = judge(evidence)

    def add(self, measurement: Measurement) -> None:
        """Take in what another engine showed, and look.

        One engine of a session may be left out for what another would not have met, such as a GPU that ran hot.
        """
        if measurement.transient and not self.measurement.excluded:
            self.measurement = self.measurement.without(measurement)
            return
        self.measurement = self.measurement.with_engines_of(measurement)
        self.look()


def settle(
    perf: Lab, checks: Sequence[OpenCheck], max_time: float, clock: Callable[[], float] = time.monotonic
) -> None:
    """Start fresh engines until every check is decided, or may have no more of them.

    All open checks on one engine share each start. A check that cannot be measured again keeps the error.

    Args:
        perf: starts engines and measures.
        checks: decided ones are left alone.
        max_time: seconds for the fresh engines of one kind; none is started that would go beyond, by what the longest
            one before took.
        clock: in seconds.
    """
    kinds: dict[Target, list[OpenCheck]] = {}
    for check in checks:
        if check.take is not None:
            kinds.setdefault(check.take.target, []).append(check)
    for kind in kinds.values():
        deadline, longest = clock() + max_time, 0.0
        while (waiting := [check for check in kind if check.open]) and clock() + longest < deadline:
            started = clock()
            _measure_again(perf, waiting, clock)
            longest = max(longest, clock() - started)
    for check in checks:
        if check.open:
            check.look(last=True)


def _measure_again(perf: Lab, checks: Sequence[OpenCheck], clock: Callable[[], float]) -> None:
    takes = [(check, check.take) for check in checks if check.take is not None]
    perf.retire([takes[0][1].target])
    for check, take in takes:
        started = clock()
        try:
            check.add(perf.measure(take.target, take.workload, take.settings, take.allowed))
        except VllmPerfError as error:
            check.error = error
            return
        finally:
            check.spent += clock() - started
