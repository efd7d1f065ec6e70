"""A search over versions that are played: environments and runs of the test without either."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pytest_vllmperf.bisect.results import Question, opened
from pytest_vllmperf.bisect.runner import Progress, Runner
from pytest_vllmperf.engines.interpreter import Interpreter
from pytest_vllmperf.errors import BisectError, UnpreparedError
from pytest_vllmperf.records.bisect import Attempt, Bisection, Followed, Judgement, Point

FOLLOWED = Followed(check="test_a", metric="tpot.p50")


def attempt(judgement: Judgement, change: float = 0.1) -> Attempt:
    """A run that measured `change`."""
    silent = judgement in (Judgement.UNDECIDED, Judgement.UNJUDGED)
    return Attempt(
        judgement=judgement,
        reason="too noisy" if silent else "",
        followed=FOLLOWED,
        status={Judgement.BAD: "REGRESSED", Judgement.GOOD: "OK"}.get(judgement, "NOISY"),
        before=0.01,
        now=0.01 * (1 + change),
        change=change,
        low=change - 0.01,
        high=change + 0.01,
        confidence=0.99,
        margin=0.05,
        seconds=2.0,
        engine_starts=4,
    )


@dataclass
class Played:
    """Versions `0` .. `count - 1`, of which the first bad one takes 10 % longer than those before.

    Attributes:
        count: of versions.
        first_bad: the place of the first bad one.
        broken: places that cannot be installed.
        noisy: place -> runs that are undecided before one is decided.
        silent: places whose run says nothing.
        same: whether all versions have one environment.
        made: what was made, as `reference 0`, `version 7`.
        runs: (reference, version) of each run.
        interrupt: raise KeyboardInterrupt in the run of that number.
    """

    count: int = 9
    first_bad: int = 5
    broken: set[int] = field(default_factory=set)
    noisy: dict[int, int] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    same: bool = False
    made: list[str] = field(default_factory=list)
    runs: list[tuple[int, int]] = field(default_factory=list)
    interrupt: int | None = None

    def reference(self, point: Point) -> Interpreter:
        return self._made("reference", point)

    def version(self, point: Point) -> Interpreter:
        return self._made("version", point)

    def _made(self, what: str, point: Point) -> Interpreter:
        self.made.append(f"{what} {point.id}")
        if int(point.id) in self.broken:
            raise UnpreparedError(f"no wheel for {point.id}")
        return Interpreter(f"/{point.id}/python", "/same" if self.same else f"/{point.id}/vllm", point.id)

    def measured(self, reference: Interpreter, version: Interpreter, followed: Followed | None) -> Attempt:
        a, b = int(reference.version), int(version.version)
        self.runs.append((a, b))
        if self.interrupt == len(self.runs):
            raise KeyboardInterrupt
        if b in self.silent:
            return Attempt(judgement=Judgement.UNJUDGED, reason="the test was skipped without a check")
        if self.noisy.get(b, 0) >= sum(one == (a, b) for one in self.runs):
            return attempt(Judgement.UNDECIDED)
        slower = a < self.first_bad <= b
        return attempt(Judgement.BAD, 0.1) if slower else attempt(Judgement.GOOD, 0.0)


Search = Callable[..., Bisection]


@pytest.fixture
def search(tmp_path: Path) -> Search:
    """Runs a search over played versions, with its results in one file."""

    def run(played: Played, rounds: int = 3, told: list[Progress] | None = None, retry: bool = False) -> Bisection:
        points = tuple(Point(id=str(place)) for place in range(played.count))
        question = Question(test="test_a.py::test_a", points=points)
        with opened(tmp_path / "found.json", question) as stored:
            if retry:
                stored.retry()
            tell = (lambda _: None) if told is None else told.append
            return Runner(played, played, stored, rounds, tell).run()

    return run


def results(found: Bisection) -> dict[int, str]:
    """What is known of each version that was tried."""
    return {int(step.version): step.result.value for step in found.steps}


def places(points: Sequence[Point]) -> list[int]:
    return [int(point.id) for point in points]


__all__ = ["BisectError", "Played", "Search", "attempt", "places", "results"]
