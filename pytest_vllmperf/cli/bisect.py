"""`vllmperf bisect`: find the first version of vLLM in which a test regresses."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_vllmperf.bisect import commands, results, versions
from pytest_vllmperf.bisect.environments import Releases, Source
from pytest_vllmperf.bisect.results import Question
from pytest_vllmperf.bisect.runner import Progress, Runner
from pytest_vllmperf.bisect.trees import Commits, Repository
from pytest_vllmperf.bisect.trial import Trial
from pytest_vllmperf.errors import BisectError, did_you_mean
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.bisect import Bisection, Point
from pytest_vllmperf.report import bisects as report
from pytest_vllmperf.report.escaping import terminal_line
from pytest_vllmperf.verdict.words import may_be_custom


@dataclass(frozen=True)
class Wanted:
    """What the command was given.

    Attributes:
        test: node id of the test.
        good: the good end.
        bad: the bad end.
        versions: releases, separated by commas; None where they are not listed.
        versions_from: a command that prints them; None without one.
        python_for: a command that makes the environment of a release; empty without one.
        python: path of the interpreter of a version; empty without one.
        git: a work tree of a repository; None for releases.
        build: a command that builds a commit; empty without one.
        metric: the only metric that counts; None for any gated one.
        rounds: runs of the test at most on one version.
        pytest: more arguments of pytest.
        results: the file of the results.
        retry: whether versions that were skipped are tried again.
    """

    test: str
    good: str
    bad: str
    versions: str | None
    versions_from: str | None
    python_for: str
    python: str
    git: Path | None
    build: str
    metric: str | None
    rounds: int
    pytest: str
    results: Path
    retry: bool

    @property
    def log(self) -> Path:
        """Everything that pytest and the user's commands say."""
        return self.results.with_suffix(".log")


def bisect(wanted: Wanted) -> Bisection:
    """Search, and go on where an earlier search ended.

    Args:
        wanted: what the command was given.

    Raises:
        BisectError: for input that is not valid, and where there is no regression to be found.
        BaselineError: for a file of results that cannot be used or written, or that answers another question.
    """
    _check(wanted)
    arguments = _split(wanted.pytest)
    with commands.interruptible():
        points = _points(wanted)
        tree = "" if wanted.git is None else str(wanted.git.absolute())
        question = Question(test=wanted.test, tree=tree, points=points, metric=wanted.metric, arguments=arguments)
        trial = Trial(wanted.test, arguments, wanted.metric, wanted.log)
        with results.opened(wanted.results, question) as stored, _source(wanted) as source:
            if wanted.retry:
                stored.retry()
            return Runner(source, trial, stored, wanted.rounds, _tell).run()


def _tell(now: Progress) -> None:
    line = report.progress(now.done, now.left, now.seconds, now.doing)
    print(terminal_line(line), file=sys.stderr, flush=True)


def _split(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise BisectError(f"--pytest {text!r}: {error}") from None


def _check(wanted: Wanted) -> None:
    """See that the options fit together.

    Raises:
        BisectError: naming the one that does not.
    """
    of_releases = {
        "--versions": wanted.versions,
        "--versions-from": wanted.versions_from,
        "--python-for": wanted.python_for,
    }
    given = [name for name, value in of_releases.items() if value]
    if wanted.git is not None and given:
        raise BisectError(f"{given[0]} is for releases, and --git for commits; leave one of the two out")
    if wanted.git is None and wanted.build:
        raise BisectError("--build is for commits; add --git TREE")
    if wanted.versions and wanted.versions_from:
        raise BisectError("--versions and --versions-from both list the releases; leave one of the two out")
    if wanted.git is None and not wanted.versions and not wanted.versions_from:
        raise BisectError("name the releases in between with --versions 0.31.0,0.31.1,... or --versions-from COMMAND")
    if wanted.metric is not None and not _names_metric(wanted.metric):
        raise BisectError(f"--metric {wanted.metric!r}: there is no such metric; docs/metrics.md lists them")
    if wanted.results.suffix != ".json":
        raise BisectError(f"--results {wanted.results}: its name has to end in .json, as the log stands beside it")
    if not wanted.test.strip() or wanted.test.startswith("-"):
        raise BisectError(f"{wanted.test!r} is no node id of a test, such as tests/test_chat.py::test_chat")


def _names_metric(name: str) -> bool:
    """Whether a metric has this name, or a test may have recorded one: what is nearly a name is a typing error."""
    return name in METRICS or (may_be_custom(name) and not did_you_mean(name, METRICS))


def _points(wanted: Wanted) -> tuple[Point, ...]:
    if wanted.git is not None:
        repository = Repository(wanted.git)
        points = repository.points(wanted.good, wanted.bad)
        if repository.uncommitted:
            note = f"note: {wanted.git} has changes that are not committed; they are not measured, and stay as they are"
            print(terminal_line(note), file=sys.stderr)
        return points
    if wanted.versions_from:
        known = versions.listed(wanted.versions_from, wanted.log)
        return versions.between(wanted.good, wanted.bad, known, every=False)
    named = [one.strip() for one in (wanted.versions or "").split(",") if one.strip()]
    return versions.between(wanted.good, wanted.bad, named, every=True)


@contextmanager
def _source(wanted: Wanted) -> Iterator[Source]:
    """What makes environments; work trees are removed at the end."""
    if wanted.git is None:
        yield Releases(wanted.python_for, wanted.python, wanted.log)
        return
    folder = wanted.results.absolute().with_suffix(".trees")
    commits = Commits(Repository(wanted.git), folder, wanted.build, wanted.python, wanted.log.absolute())
    commits.close()  # what a killed run has left
    try:
        yield commits
    finally:
        commits.close()
