"""`RunReport`: a whole run as data, which files, exports and reports for people are made of.

Times are in seconds, sizes in bytes, relative changes are fractions: 0.05 is 5 %. What was not measured is None or
absent, never zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field

from pytest_vllmperf.records import frames
from pytest_vllmperf.records.check_report import CheckReport, MeasurementReport, Part
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.ratio import Ratio
from pytest_vllmperf.records.results import ComparisonRecord, FitRecord, OverloadRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

TestOutcome = Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed", "interrupted", "not run"]
FailedBy = Literal["", "verdict", "other"]
RunOutcome = Literal["passed", "failed", "interrupted", "internal error", "usage error", "no tests collected", "other"]


class TestReport(Part):
    """One performance test.

    Attributes:
        nodeid: its node id.
        file: its module's path, from the root directory.
        line: where the test function begins there, with its decorators, from 1; None where nobody knows.
        outcome: `error` is a failure outside of the test function; `interrupted`: it was started and did not come to
            its end; `not run`: it was selected and never started.
        failed_by: `verdict` where nothing but a verdict on performance fails it: of a check, a comparison or an SLO;
            `other` where anything else does, such as an error or an assertion of the test. Empty where it did not fail.
        seconds: setup, call and teardown together, with what its checks took.
        message: why it failed, or was skipped; empty otherwise. Secrets are masked.
        log_tail: the end of the engine's log, where an engine failed.
        unchecked: what was measured and not looked at, in words.
        checks: in the order of the calls.
        measurements: that were not checked.
        comparisons: of two engines.
        overloads: of servers.
        fits: searches for the memory limit.
        point: of a test that the `sweep` marker made, the engine arguments that it varies, by name. Tests of one curve
            have the same node id up to the bracket. Empty for any other test.
    """

    __test__ = False

    nodeid: str
    file: str
    line: int | None = None
    outcome: TestOutcome
    failed_by: FailedBy = ""
    seconds: float = 0.0
    message: str = ""
    log_tail: str = ""
    unchecked: tuple[str, ...] = ()
    checks: tuple[CheckReport, ...] = ()
    measurements: tuple[MeasurementReport, ...] = ()
    comparisons: tuple[ComparisonRecord, ...] = ()
    overloads: tuple[OverloadRecord, ...] = ()
    fits: tuple[FitRecord, ...] = ()
    point: dict[str, Any] = Field(default_factory=dict)


class ScorecardRow(Part):
    """One configuration of a scorecard.

    Attributes:
        configuration: its name.
        engine: the engine, for a person.
        values: metric -> value, in the unit of the table.
        speedup: in output throughput over the baseline configuration; None where there is none.
        saved: share of the baseline's weight bytes that it does without; None where unknown.
        agreement: mean share of the baseline's greedy tokens before the first that differs; None where unknown.
        cost: of a million output tokens, in the currency of the price; None without a price.
        problems: why its measurement is void.
    """

    configuration: str
    engine: str
    values: dict[str, float]
    speedup: Ratio | None = None
    saved: float | None = None
    agreement: float | None = None
    cost: float | None = None
    problems: tuple[Problem, ...] = ()


class ScorecardReport(Part):
    """All rows of one scorecard on one kind of hardware.

    Attributes:
        name: the scorecard's.
        profile: the kind of hardware.
        baseline: the configuration that the others are compared with.
        rows: in the order in which they were measured.
        notes: what a person should know.
    """

    name: str
    profile: str
    baseline: str
    rows: tuple[ScorecardRow, ...]
    notes: tuple[str, ...] = ()


class Machine(Part):
    """The machine of the process that wrote the file.

    Attributes:
        device: the GPUs as the driver lists them, or the processor.
        driver: version of the NVIDIA driver; None without one.
        vllm: version of vLLM that this interpreter would run; None without one.
        python: version of Python.
        pytest: version of pytest.
        platform: operating system and architecture.
    """

    device: str
    driver: str | None
    vllm: str | None
    python: str
    pytest: str
    platform: str


class CollectionProblem(Part):
    """A module or folder that could not be collected: tests in it are missing from the run.

    Attributes:
        nodeid: of the module or folder.
        message: why.
    """

    nodeid: str
    message: str


class RunInfo(Part):
    """The run itself.

    Attributes:
        plugin: version of pytest-vllmperf.
        started: when, as an ISO date and time.
        seconds: that it took.
        outcome: in words.
        exit_status: as pytest returns it.
        complete: whether every selected performance test came to its end, and every module was collected.
        mode: what it does with baselines, in words.
        machine: where it ran.
        options: name of each option -> what held, as a user would write it.
        notes: lines that the report of the run ends with, such as errors.
        written: baseline files that were changed, from the root directory.
        collection_problems: what could not be collected.
        commit: of the user's repository when the run began, as 40 or 64 hexadecimal digits; None without git.
        dirty: whether tracked files differed from that commit; None where nobody knows.
        engine_starts: how many engines were started, with those that failed to; None where nobody knows, as a worker of
            xdist did not come to its end.
        others_failed: node ids of tests that failed and are no performance tests, whose results are not in the file.
    """

    plugin: str
    started: str
    seconds: float
    outcome: RunOutcome
    exit_status: int
    complete: bool
    mode: str
    machine: Machine
    options: dict[str, str]
    notes: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    collection_problems: tuple[CollectionProblem, ...] = ()
    commit: str | None = None
    dirty: bool | None = None
    engine_starts: int | None = None
    others_failed: tuple[str, ...] = ()


class RunReport(Part):
    """A whole run.

    Attributes:
        schema_name: what kind of file it is; `schema` in the file.
        version: of the schema.
        run: what concerns all of it.
        tests: the performance tests, in the order in which they were collected.
        scorecards: that the tests fill.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    schema_name: Literal["pytest-vllmperf/run"] = Field(default="pytest-vllmperf/run", alias="schema")
    version: Literal[1] = 1
    run: RunInfo
    tests: tuple[TestReport, ...]
    scorecards: tuple[ScorecardReport, ...] = ()

    @property
    def checks(self) -> Iterator[tuple[TestReport, CheckReport]]:
        """Every check with its test."""
        return ((test, check) for test in self.tests for check in test.checks)

    def test(self, nodeid: str) -> TestReport:
        """The test with this node id.

        Raises:
            KeyError: where there is none.
        """
        for test in self.tests:
            if test.nodeid == nodeid:
                return test
        raise KeyError(nodeid)

    def frame(self, rows: frames.Rows = "samples", *, library: frames.Library | None = None) -> Any:
        """The run as a DataFrame.

        Args:
            rows: `samples`: one row for each test, check, metric, engine start and iteration; `metrics`: one row for
                each test, check and metric, with its verdict; `tests`: one row for each test, with its outcome;
                `requests`: one row for each single request of a measured iteration.
            library: `pandas` or `polars`; without it pandas where it is installed, else polars.

        Raises:
            SpecError: for other rows or another library, and where the library is not installed.
        """
        return frames.frame(self, rows, library)
