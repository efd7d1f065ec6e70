"""What a test calls: the `vllmperf` fixture's methods. Brings session, verdict and baseline together."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pytest_vllmperf import environment
from pytest_vllmperf.checks import CHECK_SEPARATOR, CheckRecord
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.measure import MeasureSettings
from pytest_vllmperf.metrics.records import Measurement, Session
from pytest_vllmperf.metrics.table import METRICS, resolve_gate
from pytest_vllmperf.options import CheckSettings, Update, call_settings
from pytest_vllmperf.report import terminal
from pytest_vllmperf.session.perf import PerfSession, Target
from pytest_vllmperf.spec import EngineSpec
from pytest_vllmperf.stats import RatioInterval
from pytest_vllmperf.verdict import Comparison, Status, Verdict, VerdictSettings, judge
from pytest_vllmperf.workload import Workload

FAILING = (Status.REGRESSED, Status.NO_BASELINE, Status.NOT_COMPARABLE, Status.INVALID)


@dataclass
class TestContext:
    """What is known of the running test.

    Attributes:
        nodeid: its node id.
        rootdir: what the node id starts from.
        started_in: where pytest was started.
        arguments: what a command that records this test needs besides.
        spec: what its `vllm` marker names.
        gpu: what its `gpu` marker asks for.
        settings: what its `vllmperf` marker says, over the run's settings.
        checks: filled as the test goes on.
        properties: the test's properties for JUnit, filled as it goes on.
    """

    __test__ = False

    nodeid: str
    rootdir: Path
    started_in: Path
    arguments: tuple[str, ...]
    spec: EngineSpec | None
    gpu: GpuRequirement | None
    settings: CheckSettings
    checks: list[CheckRecord] = field(default_factory=list)
    properties: list[tuple[str, object]] = field(default_factory=list)

    @property
    def module(self) -> str:
        """The test module's path, as in the node id."""
        return self.nodeid.split("::", 1)[0]

    def check_name(self, name: str | None) -> str:
        """The name of the next check in the baseline file: the test's, and the check's own behind it.

        Raises:
            SpecError: for a name that this test has used already, or that could be mistaken for a test's.
        """
        if name is not None and (not name or "]" in name or CHECK_SEPARATOR in name):
            raise SpecError(f"{self.nodeid}: a check cannot be called {name!r}; leave ']' and '{CHECK_SEPARATOR}' out")
        test = self.nodeid.split("::", 1)[1] if "::" in self.nodeid else self.nodeid
        if name is None and self.checks:
            name = str(len(self.checks) + 1)
        full = test if name is None else f"{test}{CHECK_SEPARATOR}{name}"
        if any(check.name == full for check in self.checks):
            raise SpecError(f"{self.nodeid}: two checks are called {name!r}; give each a name of its own")
        return full

    def record_command(self) -> str:
        """The command that records this test's baseline, from where pytest was started."""
        path, _, test = self.nodeid.partition("::")
        shown = os.path.relpath(self.rootdir / path, self.started_in)
        return shlex.join(["pytest", "--vllmperf-update-new", *self.arguments, f"{shown}::{test}"])


class VllmPerf:
    """The `vllmperf` fixture."""

    def __init__(self, session: PerfSession, test: TestContext) -> None:
        self._session = session
        self._test = test

    def engine(self, model: str | os.PathLike[str], **kwargs: Any) -> EngineSpec:
        """An engine for `measure` or `compare`; takes what `@pytest.mark.vllm` takes and starts nothing yet.

        Raises:
            SpecError: for arguments that cannot be meant.
        """
        return EngineSpec.create(model, **kwargs)

    def measure(
        self,
        workload: Workload,
        *,
        engine: EngineSpec | None = None,
        iterations: int | None = None,
        warmup: int | None = None,
    ) -> Measurement:
        """Measure a workload on the marker's engine, or on `engine`.

        Args:
            workload: what to send.
            engine: which engine instead of the marker's.
            iterations: counted iterations; default from marker, option or ini.
            warmup: discarded iterations before them.

        Raises:
            SpecError: when no engine is named.
            WorkloadError: when the workload does not fit the engine.
            EngineError: when the engine does not start, or fails on the way.
            NoGpuError: when no GPU meets the `gpu` marker.
        """
        settings = self._measure_settings(iterations, warmup)
        return self._session.measure(self._target(engine), workload, settings)

    def check(
        self,
        run: Measurement,
        *,
        name: str | None = None,
        margin: float | Mapping[str, float] | None = None,
        gate: str | Sequence[str] | None = None,
    ) -> Verdict | None:
        """Judge a measurement by this hardware's stored baseline, or record it as one.

        A regression, a missing or incomparable baseline and a void measurement fail the test with a line each.

        Args:
            run: what `measure` returned.
            name: needed in a test with several checks, so that each keeps its baseline.
            margin: tolerated relative change, one for all or by metric.
            gate: metrics that decide, or the sets `auto`, `exact`, `clock`, `cpu`.

        Returns:
            The verdict; None when the measurement was recorded instead.

        Raises:
            SpecError: for a metric, margin or name that cannot be meant.
            BaselineError: for a baseline file that cannot be read.
        """
        own = call_settings(margin=margin, gate=gate).over(self._test.settings)
        gated = resolve_gate(own.gate or (), run.device)
        check_name = self._test.check_name(name)
        stored = self._session.store.read(run.profile, self._test.module).tests.get(check_name)
        sessions = stored.sessions if stored else []
        recording = self._session.settings.update is Update.ALL or (
            self._session.settings.update is Update.NEW and not sessions
        )
        verdict = None
        if not recording or run.problems:
            settings = VerdictSettings(gated, own.margin or 0.0, own.margins)
            verdict = judge(sessions, run, settings, self._hard_differences(sessions, run))
        record = self._record(check_name, run, verdict)
        self._test.checks.append(record)
        self._test.properties += terminal.properties(record)
        if verdict is not None and verdict.status in FAILING:
            self._fail(record, sessions)
        return verdict

    def compare(
        self,
        a: EngineSpec,
        b: EngineSpec,
        workload: Workload,
        *,
        iterations: int | None = None,
        warmup: int | None = None,
    ) -> EngineComparison:
        """Measure two engines in turns, both running, so that drift falls on both alike.

        Args:
            a: the engine that is claimed to be better.
            b: the reference.
            workload: what to send to both.
            iterations: counted rounds.
            warmup: discarded rounds before them.

        Raises:
            SpecError: when both are the same engine.
            WorkloadError: when the workload does not fit one of them.
            EngineError: when an engine does not start, or fails on the way.
        """
        if a == b:
            raise SpecError("compare() needs two different engines; these are one and the same")
        targets = (self._target(a), self._target(b))
        sides = self._session.measure_in_turns(targets, workload, self._measure_settings(iterations, warmup))
        for side in sides:
            if side.problems:
                _fail_line(f"INVALID  {side.spec_label}: {'; '.join(side.problems)}")
        return EngineComparison(Comparison(*sides))

    def _target(self, engine: EngineSpec | None) -> Target:
        spec = engine or self._test.spec
        if spec is None:
            raise SpecError(
                f"{self._test.nodeid}: no engine; mark the test with @pytest.mark.vllm(model, ...) or pass engine="
            )
        return self._session.target(spec, self._test.gpu)

    def _measure_settings(self, iterations: int | None, warmup: int | None) -> MeasureSettings:
        own = call_settings(iterations=iterations, warmup=warmup).over(self._test.settings)
        assert own.warmup is not None
        assert own.iterations is not None
        return MeasureSettings(own.warmup, own.iterations)

    def _record(self, name: str, run: Measurement, verdict: Verdict | None) -> CheckRecord:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return CheckRecord(
            module=self._test.module,
            name=name,
            profile=run.profile,
            engine=run.spec_label,
            workload=dict(run.workload),
            session=Session(recorded=now, environment=run.environment, engines=list(run.engines)),
            verdict=verdict,
            values={metric: run.value(metric) for metric in METRICS if run.samples(metric)},
        )

    def _hard_differences(self, sessions: Sequence[Session], run: Measurement) -> list[str]:
        return environment.differences(sessions[-1].environment.hard, run.environment.hard) if sessions else []

    def _fail(self, record: CheckRecord, sessions: Sequence[Session]) -> NoReturn:
        changed: list[str] = []
        if sessions:
            changed = environment.differences(sessions[-1].environment.soft, record.session.environment.soft)
        lines = terminal.failure_lines(record, changed, self._test.record_command())
        _fail_line("\n".join(lines))


@dataclass(frozen=True)
class EngineComparison:
    """Two engines, measured in turns.

    Attributes:
        comparison: their measurements.
    """

    comparison: Comparison

    @property
    def a(self) -> Measurement:
        """The first engine's measurement."""
        return self.comparison.a

    @property
    def b(self) -> Measurement:
        """The reference's measurement."""
        return self.comparison.b

    def speedup(self, metric: str = "output_throughput") -> RatioInterval:
        """How many times better `a` is, with its 99 % interval; above 1 always means that `a` wins.

        Raises:
            NotMeasuredError: when either engine did not observe the metric.
        """
        return self.comparison.speedup(metric)

    def assert_speedup(self, ratio: float, metric: str = "output_throughput") -> RatioInterval:
        """Fail the test unless `a` is at least `ratio` times better with 99 % confidence.

        Args:
            ratio: what the lower confidence bound has to reach.
            metric: which metric; where lower is better, the ratio is turned round.

        Raises:
            NotMeasuredError: when either engine did not observe the metric.
        """
        __tracebackhide__ = True
        interval = self.speedup(metric)
        if interval.low < ratio:
            _fail_line(terminal.speedup_line(self.comparison, metric, interval, ratio))
        return interval


def _fail_line(text: str) -> NoReturn:
    __tracebackhide__ = True
    pytest.fail(text, pytrace=False)
