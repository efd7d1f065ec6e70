"""The search: the bad end first, then the middle of what is unknown, and at last the two neighbours that differ."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pytest_vllmperf.bisect import search
from pytest_vllmperf.bisect.environments import Source
from pytest_vllmperf.bisect.results import Results
from pytest_vllmperf.engines.interpreter import Interpreter
from pytest_vllmperf.errors import BisectError, UnpreparedError
from pytest_vllmperf.records.bisect import Attempt, Bisection, Final, Followed, Judgement, Point, Result, Step
from pytest_vllmperf.report import bisects as report


class Measures(Protocol):
    """Runs the test once."""

    def measured(self, reference: Interpreter, version: Interpreter, followed: Followed | None) -> Attempt:
        """See `trial.Trial.measured`."""


@dataclass(frozen=True)
class Progress:
    """Where the search stands.

    Attributes:
        done: runs of versions that are finished.
        left: versions that are still expected.
        seconds: that this is expected to take; None where nothing is known yet.
        doing: what is done now.
    """

    done: int
    left: int
    seconds: float | None
    doing: str


class Runner:
    """Looks for the first bad version.

    Args:
        source: makes environments.
        trial: runs the test.
        stored: what is known, and where it is kept.
        rounds: runs of the test at most on one version, while it is undecided.
        tell: is told how far the search is.
    """

    def __init__(
        self, source: Source, trial: Measures, stored: Results, rounds: int, tell: Callable[[Progress], None]
    ) -> None:
        self._source = source
        self._trial = trial
        self._stored = stored
        self._rounds = rounds
        self._tell = tell
        self._points = stored.content.question.points
        self._reference: tuple[Point, Interpreter] | None = None

    def run(self) -> Bisection:
        """Search to the end.

        Raises:
            BisectError: where the ends do not differ, cannot be judged, or the command makes one environment for all.
            BaselineError: when the results cannot be written.
        """
        self._verify_ends()
        while (place := search.following(self._results(), self._last)) is not None:
            self._take(self._points[place])
        found = self._found()
        if found.final is None:
            self._stored.end(self._neighbours(found))
        return self._found()

    @property
    def _last(self) -> int:
        return len(self._points) - 1

    def _results(self) -> dict[int, Result]:
        places = {point.id: place for place, point in enumerate(self._points)}
        return {places[step.version]: step.result for step in self._stored.steps}

    def _found(self) -> Bisection:
        content = self._stored.content
        assert content.followed is not None
        good, bad = search.bounds(self._results(), self._last)
        return Bisection(
            test=content.question.test,
            points=self._points,
            steps=content.steps,
            followed=content.followed,
            good=good,
            bad=bad,
            final=content.final,
        )

    def _verify_ends(self) -> None:
        """See that the bad end is worse than the good one; only then is anything stored."""
        if self._stored.content.followed is not None and self._last in self._results():
            return
        good, bad = self._points[0], self._points[-1]
        step = self._step(bad)
        if step.result is Result.GOOD:
            assert step.last is not None
            raise BisectError(
                f"no regression between them: {bad.label} against {good.label} is {step.last.status}: "
                f"{report.change(step.last)}"
            )
        if step.result is Result.SKIPPED:
            raise BisectError(f"--bad {bad.label} cannot be judged against --good {good.label}: {step.reason}")
        assert step.last is not None
        assert step.last.followed is not None
        self._stored.put(step, step.last.followed)

    def _take(self, point: Point) -> None:
        followed = self._stored.content.followed
        assert followed is not None
        self._stored.put(self._step(point), followed)

    def _step(self, point: Point) -> Step:
        """Make the environment of a version, and run the test until it is decided."""
        began = time.monotonic()
        good = self._good(self._points[0])
        attempts: list[Attempt] = []
        try:
            self._say(f"{point.label}: making its environment")
            version = self._another(self._source.version(point), good)
            words = f"{point.label}: measuring in turns with {self._points[0].short}"
            attempts = self._attempts(good, version, words)
        except UnpreparedError as error:
            result, reason = Result.SKIPPED, str(error)
        else:
            result, reason = _concluded(attempts)
        seconds = time.monotonic() - began
        return Step(
            version=point.id, result=result, reason=reason, attempts=_slim(attempts, keep=result), seconds=seconds
        )

    def _attempts(self, reference: Interpreter, version: Interpreter, words: str) -> list[Attempt]:
        """Run the test until it is decided, or has been run as often as it may be."""
        attempts: list[Attempt] = []
        while len(attempts) < self._rounds and (not attempts or attempts[-1].judgement is Judgement.UNDECIDED):
            again = f", run {len(attempts) + 1} of at most {self._rounds}" if attempts else ""
            self._say(words + again)
            attempts.append(self._trial.measured(reference, version, self._stored.content.followed))
        return attempts

    def _good(self, point: Point) -> Interpreter:
        """The reference, made once for as long as it is the same version.

        Raises:
            BisectError: when it cannot be made.
        """
        if self._reference is None or self._reference[0] != point:
            self._say(f"{point.label}: making its environment")
            try:
                self._reference = (point, self._source.reference(point))
            except UnpreparedError as error:
                raise BisectError(f"--good {point.label} cannot be measured: {error}") from None
        return self._reference[1]

    @staticmethod
    def _another(version: Interpreter, good: Interpreter) -> Interpreter:
        if version.folder == good.folder:
            raise BisectError(
                f"{version.python} and {good.python} have the same vLLM, that in {good.folder}: the command or path "
                "has to give each version an environment of its own"
            )
        return version

    def _neighbours(self, found: Bisection) -> Final:
        """The first bad version in turns with the last good one; what is known already is not measured again."""
        before, after = self._points[found.good], self._points[found.bad]
        if found.good == 0:
            step = found.step(after.id)
            return Final(before=before.id, after=after.id, attempt=step.last if step else None)
        words = f"{after.label}: measuring in turns with {before.short}, the last good version"
        try:
            self._say(f"{before.label}: making its environment")
            reference = self._source.reference(before)
            self._reference = (before, reference)
            version = self._another(self._source.version(after), reference)
        except UnpreparedError as error:
            return Final(before=before.id, after=after.id, reason=str(error))
        attempts = self._attempts(reference, version, words)
        starts = [one.engine_starts for one in attempts]
        return Final(
            before=before.id,
            after=after.id,
            attempt=attempts[-1],
            runs=len(attempts),
            seconds=sum(one.seconds for one in attempts),
            engine_starts=None if None in starts else sum(one or 0 for one in starts),
        )

    def _say(self, doing: str) -> None:
        results, last = self._results(), self._last
        verified = last in results
        left = search.steps_left(results, last) + (0 if verified else 1)
        steps = self._stored.steps
        mean = sum(step.seconds for step in steps) / len(steps) if steps else None
        # The last run, of the two neighbours, is one more.
        self._tell(Progress(len(steps), left, None if mean is None else mean * (left + 1), doing))


def _concluded(attempts: list[Attempt]) -> tuple[Result, str]:
    """What the runs on a version come to, and why it is skipped."""
    last = attempts[-1]
    if last.judgement is Judgement.BAD:
        return Result.BAD, ""
    if last.judgement is Judgement.GOOD:
        return Result.GOOD, ""
    rounds = f"undecided after {len(attempts)} runs: " if last.judgement is Judgement.UNDECIDED else ""
    return Result.SKIPPED, f"{rounds}{last.reason}"


def _slim(attempts: list[Attempt], keep: Result) -> tuple[Attempt, ...]:
    """The runs as they are stored: the table of kernels only of the one that found a version to be bad."""
    last = len(attempts) - 1
    return tuple(
        one if keep is Result.BAD and place == last else one.model_copy(update={"attribution": None})
        for place, one in enumerate(attempts)
    )
