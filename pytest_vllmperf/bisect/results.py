"""The file of a bisection: every finished step, replaced whole after each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.bisect import Final as FinalRun
from pytest_vllmperf.records.bisect import Followed, Point, Result, Step
from pytest_vllmperf.storage import resumable
from pytest_vllmperf.storage.resumable import ELSEWHERE, only_writer
from pytest_vllmperf.storage.versioned import Format

SCHEMA: Final = "pytest-vllmperf/bisect"


class Question(BaseModel):
    """What a bisection looks for; a file holds the answer to one.

    Attributes:
        test: the node id.
        tree: the folder of the repository; empty for releases.
        points: all versions, from the good end to the bad one.
        metric: the only metric that counts; None for any gated one.
        arguments: more arguments of pytest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    test: str
    tree: str = ""
    points: tuple[Point, ...] = Field(min_length=2)
    metric: str | None = None
    arguments: tuple[str, ...] = ()


class BisectFile(BaseModel):
    """A file of a bisection.

    Attributes:
        schema_name: what kind of file it is.
        version: of the schema.
        question: what it looks for.
        followed: the metric that regressed; None before the bad end is measured.
        steps: those that are finished, in their order.
        final: the last good version and the first bad one against each other; None before that is measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    schema_name: Literal["pytest-vllmperf/bisect"] = Field(default="pytest-vllmperf/bisect", alias="schema")
    version: Literal[1] = 1
    question: Question
    followed: Followed | None = None
    steps: tuple[Step, ...] = ()
    final: FinalRun | None = None


FORMAT = Format(
    noun="file of a bisection",
    schema=SCHEMA,
    version=1,
    content=BisectFile,
    foreign=ELSEWHERE,
    older=f"this release cannot go on with it; {ELSEWHERE}",
    damaged=f"restore it, or {ELSEWHERE}",
    too_large=ELSEWHERE,
)


class Results:
    """The finished steps, on disk after each.

    Args:
        path: the file.
        question: what is looked for.

    Raises:
        BaselineError: for a file that cannot be read, is of another schema or version, or answers another question.
    """

    def __init__(self, path: Path, question: Question) -> None:
        self.path = path
        self.content = _read(path, question)

    @property
    def steps(self) -> Sequence[Step]:
        """The finished steps."""
        return self.content.steps

    def retry(self) -> None:
        """Forget the versions that were skipped, and what was made of the others."""
        if any(step.result is Result.SKIPPED for step in self.steps):
            kept = tuple(step for step in self.steps if step.result is not Result.SKIPPED)
            self.content = self.content.model_copy(update={"steps": kept, "final": None})

    def put(self, step: Step, followed: Followed) -> None:
        """Add a step, and write the file.

        Raises:
            BaselineError: when the file cannot be written; it then holds all steps before.
        """
        self._write({"steps": (*self.steps, step), "followed": followed, "final": None})

    def end(self, final: FinalRun) -> None:
        """Add the last run, and write the file.

        Raises:
            BaselineError: when the file cannot be written.
        """
        self._write({"final": final})

    def _write(self, update: dict[str, object]) -> None:
        self.content = self.content.model_copy(update=update)
        text = FORMAT.encoded(self.path, self.content)
        resumable.write(self.path, text, "steps")


@contextmanager
def opened(path: Path, question: Question) -> Iterator[Results]:
    """The results of a bisection, for one process at a time.

    Raises:
        BaselineError: where another bisection writes the file, its folder cannot be written, or as for `Results`.
    """
    with only_writer(path, "bisection"):
        yield Results(path, question)


def _read(path: Path, question: Question) -> BisectFile:
    found = FORMAT.read(path)
    if found is None:
        return BisectFile(question=question)
    if found.question != question:
        names = {"points": "versions", "tree": "--git", "metric": "--metric", "arguments": "arguments of pytest"}
        stored, asked = found.question, question
        differ = [names.get(one, one) for one in Question.model_fields if getattr(stored, one) != getattr(asked, one)]
        ends = f"{stored.test}, {stored.points[0].short} to {stored.points[-1].short}"
        raise BaselineError(f"{path}: results of another bisection ({ends}; {', '.join(differ)} differ); {ELSEWHERE}")
    known = {point.id for point in question.points}
    if strange := next((step.version for step in found.steps if step.version not in known), None):
        raise FORMAT.unfit(path, f"the step {strange} is none of its versions")
    named = [found.followed, *(attempt.followed for step in found.steps for attempt in step.attempts)]
    if foreign := next((one.metric for one in named if one is not None and one.metric not in METRICS), None):
        raise FORMAT.unfit(path, f"there is no metric {foreign}")
    return found
