"""`RunReport`: a whole run as data, which files, exports and reports for people are made of.

Times are in seconds, sizes in bytes, relative changes are fractions: 0.05 is 5 %. What was not measured is None or
absent, never zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_vllmperf.records import frames
from pytest_vllmperf.records.attribution import Attribution
from pytest_vllmperf.records.kernels import KernelTable
from pytest_vllmperf.records.ledger import VramLedger
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.ratio import Ratio
from pytest_vllmperf.records.results import ComparisonRecord, FitRecord, OverloadRecord
from pytest_vllmperf.records.verdict import Drift, LimitVerdict, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

Better = Literal["higher", "lower"]
Numbers = tuple[float, ...]
TestOutcome = Literal["passed", "failed", "error", "skipped", "xfailed", "xpassed", "interrupted", "not run"]
RunOutcome = Literal["passed", "failed", "interrupted", "internal error", "usage error", "no tests collected", "other"]


class _Part(BaseModel):
    """A part of a report. One that came out of a file may hold nothing that this release does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Judged(_Part):
    """How one metric was judged.

    Attributes:
        status: its verdict.
        baseline: value of what it is judged by, in the unit of the metric; None where that was not measured there.
        now: value of the new engine starts; None where it was not measured.
        change: now against baseline; None where it has no meaning.
        low: lower end of the interval of the change; None for an exact metric.
        high: upper end.
        confidence: of that interval, such as 0.99.
        margin: tolerated change for the worse.
        engines: new engine starts that it rests on.
        iterations: of each of them; requests, where they are paired.
        paired: whether requests were compared one by one.
        reason: why it does not decide or cannot be judged, in words; empty otherwise.
        clearly_better: whether the interval lies beyond the margin on the good side.
        drift: the change that crept in, where the status is DRIFTED.
        against: the reference interpreter that it was judged by; empty for a stored baseline.
        detectable: smallest slowdown that the baseline detects 80 % of the time; None for an exact metric.
        session_sd: relative standard deviation between sessions; None for an exact metric.
        engine_sd: relative standard deviation between engine starts of a session; None for an exact metric.
    """

    status: Status
    baseline: float | None
    now: float | None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    margin: float
    engines: int = 0
    iterations: int = 0
    paired: bool = False
    reason: str = ""
    clearly_better: bool = False
    drift: Drift | None = None
    against: str = ""
    detectable: float | None = None
    session_sd: float | None = None
    engine_sd: float | None = None


class MetricReport(_Part):
    """One metric of one check or measurement.

    Attributes:
        name: as in options and in `run.value(name)`.
        label: for a person.
        unit: symbol of the unit of all values; empty for a plain count.
        better: which way is better.
        kind: the class of the metric, see docs/metrics.md.
        clock: whose clock or counter it comes from.
        gated: whether it decides the check.
        value: median over engine starts of the median over iterations; None where it was not measured.
        samples: for each engine start its iterations, in order; one value for what a start has once. Empty for a start
            that did not measure it.
        reference: the same of the reference interpreter, for a check in turns.
        judged: the verdict on it; None for a metric that was not judged.
    """

    name: str
    label: str
    unit: str
    better: Better
    kind: str
    clock: str
    gated: bool = False
    value: float | None
    samples: tuple[Numbers, ...] = ()
    reference: tuple[Numbers, ...] = ()
    judged: Judged | None = None


class EngineStart(_Part):
    """One engine start; its samples stand in the metrics.

    Attributes:
        cold_start: whether it was the first start of this engine in its run.
        discarded: warm-up iterations.
        iterations: counted iterations.
        warmup: values of the warm-up iterations, for the metrics that a gate looks at by default.
        ttft_by_request: seconds; for each request of the workload the median over the iterations.
        kernels: of each GPU what it did in an iteration of the device pass; empty without one.
        no_device_pass: why there was no device pass; empty where there was one, or nobody asked for it.
    """

    cold_start: bool
    discarded: int
    iterations: int
    warmup: dict[str, Numbers] = Field(default_factory=dict)
    ttft_by_request: Numbers = ()
    kernels: tuple[KernelTable, ...] = ()
    no_device_pass: str = ""


class EnvironmentReport(_Part):
    """Where and what was measured. Values of environment variables are not in it.

    Attributes:
        hard: what has to match for a comparison.
        soft: what may differ, and is reported.
        variables: names of the variables that the test gives its engine.
    """

    hard: dict[str, str]
    soft: dict[str, str]
    variables: tuple[str, ...] = ()


class MeasurementReport(_Part):
    """A measurement.

    Attributes:
        engine: the engine, for a person; secrets are masked.
        profile: the kind of hardware, which names the folder of its baseline.
        workload: as stored in the baseline file.
        measured: when it ended, as an ISO date and time.
        environment: that it was measured in.
        engines: one entry for each engine start.
        metrics: by name, in the order of the table of metrics.
        problems: why it is void; empty for one that counts.
        excluded: why an engine start was left out.
        ledger: where the device's memory went; None where nobody knows.
    """

    engine: str
    profile: str
    workload: dict[str, Any]
    measured: str
    environment: EnvironmentReport
    engines: tuple[EngineStart, ...]
    metrics: dict[str, MetricReport]
    problems: tuple[Problem, ...] = ()
    excluded: tuple[Problem, ...] = ()
    ledger: VramLedger | None = None


class SessionReport(_Part):
    """One stored session that a check was judged by.

    Attributes:
        recorded: when, as an ISO date and time.
        values: for each judged metric the median of each engine start.
    """

    recorded: str
    values: dict[str, Numbers]


class BaselineReport(_Part):
    """The stored baseline that a check was judged by.

    Attributes:
        sessions: oldest first.
        environment: of the newest session.
        ttft_by_request: seconds; for each request the median over all stored engine starts.
    """

    sessions: tuple[SessionReport, ...]
    environment: EnvironmentReport
    ttft_by_request: Numbers = ()


class ReferenceReport(_Part):
    """What a check was measured in turns with; its samples stand in the metrics.

    Attributes:
        name: its vLLM and its interpreter, for a person.
        way: how both shared the device.
        environment: that it was measured in.
        engines: one entry for each engine start.
    """

    name: str
    way: str
    environment: EnvironmentReport
    engines: tuple[EngineStart, ...]


class VerdictReport(_Part):
    """A verdict that does not decide: what the stored baseline says of a check that is judged by its reference.

    Attributes:
        status: the worst of its metrics, or why there was nothing to judge.
        reasons: in words, why there was nothing to judge.
        metrics: by name.
    """

    status: Status
    reasons: tuple[str, ...] = ()
    metrics: dict[str, Judged] = Field(default_factory=dict)


class CheckReport(MeasurementReport):
    """A check: a measurement and the verdict on it.

    Attributes:
        name: its own name; empty for the only check of a test without one.
        entry: its name in the baseline file of its module.
        status: the verdict.
        reasons: why there was nothing to judge, in words.
        gate: names of the metrics that decide.
        keeping: what becomes of its session in the baseline file, in words.
        left_out: why it did not join its baseline, where it might have; empty otherwise.
        reason: why the baseline is recorded anew; empty when nobody said.
        changed: how the environment differs from that of what it is judged by, each difference in words.
        notes: what a person should know.
        baseline: the stored sessions that it was judged by; None without any.
        reference: what it was measured in turns with; None without one.
        by_baseline: what the stored baseline says of a check that is judged by its reference; None without one.
        attribution: where the time differs from what it is judged by; None where it was not judged.
        limits: metrics with an absolute limit, and whether it is kept.
    """

    name: str
    entry: str
    status: Status
    reasons: tuple[str, ...] = ()
    gate: tuple[str, ...]
    keeping: str
    left_out: str = ""
    reason: str = ""
    changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    baseline: BaselineReport | None = None
    reference: ReferenceReport | None = None
    by_baseline: VerdictReport | None = None
    attribution: Attribution | None = None
    limits: tuple[LimitVerdict, ...] = ()


class TestReport(_Part):
    """One performance test.

    Attributes:
        nodeid: its node id.
        file: its module's path, from the root directory.
        line: where the test function begins there, with its decorators, from 1; None where nobody knows.
        outcome: `error` is a failure outside of the test function; `interrupted`: it was started and did not come to
            its end; `not run`: it was selected and never started.
        seconds: setup, call and teardown together, with what its checks took.
        message: why it failed, or was skipped; empty otherwise. Secrets are masked.
        log_tail: the end of the engine's log, where an engine failed.
        unchecked: what was measured and not looked at, in words.
        checks: in the order of the calls.
        measurements: that were not checked.
        comparisons: of two engines.
        overloads: of servers.
        fits: searches for the memory limit.
    """

    __test__ = False

    nodeid: str
    file: str
    line: int | None = None
    outcome: TestOutcome
    seconds: float = 0.0
    message: str = ""
    log_tail: str = ""
    unchecked: tuple[str, ...] = ()
    checks: tuple[CheckReport, ...] = ()
    measurements: tuple[MeasurementReport, ...] = ()
    comparisons: tuple[ComparisonRecord, ...] = ()
    overloads: tuple[OverloadRecord, ...] = ()
    fits: tuple[FitRecord, ...] = ()


class ScorecardRow(_Part):
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


class ScorecardReport(_Part):
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


class Machine(_Part):
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


class CollectionProblem(_Part):
    """A module or folder that could not be collected: tests in it are missing from the run.

    Attributes:
        nodeid: of the module or folder.
        message: why.
    """

    nodeid: str
    message: str


class RunInfo(_Part):
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


class RunReport(_Part):
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
                each test, check and metric, with its verdict; `tests`: one row for each test, with its outcome.
            library: `pandas` or `polars`; without it pandas where it is installed, else polars.

        Raises:
            SpecError: for other rows or another library, and where the library is not installed.
        """
        return frames.frame(self, rows, library)
