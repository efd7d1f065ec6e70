"""What is known of a running test: where it lies, what its markers say, and what became of its checks."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.checking.check import Check
from pytest_vllmperf.checking.outcome import Failure, conclude
from pytest_vllmperf.checking.plan import Site
from pytest_vllmperf.checking.reported import measured_record
from pytest_vllmperf.comparing.comparison import EngineComparison
from pytest_vllmperf.errors import DriftedWarning, NoisyWarning, SpecError, VllmPerfWarning
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.harness.given import shown
from pytest_vllmperf.harness.markers import CardEntry
from pytest_vllmperf.harness.recordings import Recordings
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records import ids
from pytest_vllmperf.records.ids import CHECK_SEPARATOR, CheckId, TestId
from pytest_vllmperf.records.kernels import KernelTrace
from pytest_vllmperf.records.results import (
    CheckRecord,
    FitRecord,
    OverloadRecord,
    TestResults,
)
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.scorecard import Row
from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.records.settings import CheckSettings, Settings
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report import remarks, terminal
from pytest_vllmperf.report.names import WIDTH
from pytest_vllmperf.storage.traces import drop_traces, keep_traces

Warn = Callable[[type[VllmPerfWarning], str, tuple[str, int]], bool]
"""Takes a category, a text and a line of the user's code."""


@dataclass
class TestContext:
    """What is known of a running test.

    Attributes:
        nodeid: its node id.
        rootdir: what the node id starts from.
        started_in: where pytest was started.
        arguments: what a command that records this test needs besides.
        spec: what its `vllm` marker names.
        gpu: what its `gpu` marker asks for.
        settings: what its `vllmperf` marker says, over the run's settings.
        run_settings: the run's settings.
        warn: emits a warning of pytest, at a line of the user's code; whether a filter makes it an error.
        tell: shows a line to a person at once.
        redact: takes secrets out of a text that is stored.
        stored: the names of its checks in the baseline of a profile.
        verbose: whether a failure tells all of every metric, as with `-v`.
        columns: how wide the text of a failure may be.
        raised: whether setup, call or teardown raised anything.
        failed: whether that made it fail.
        excused: whether it failed as expected (`xfail`).
        waiting: whether it is held back until the tests on its engine have run.
        pending: checks that are not concluded, in the order of their calls.
        records: checks that are.
        properties: the test's properties for JUnit, filled as checks end.
        card: the scorecard that its measurements are rows of.
        point: engine arguments that the `sweep` marker gives it; empty without one.
        measured: every measurement that it made.
        shared: measurements that `vllmperf_session` made while it ran, for this test and others.
        shares: whether it uses `vllmperf_session`.
        recordings: custom metrics of these.
        compared: its comparisons.
        traces: of a test that failed, once that is known.
        claims: how many assertions on engines were made besides checks.
        failures: why concluded checks fail the test.
        rows: rows of the scorecard.
        overloads: what each overload came to.
        fits: what each search for a memory limit found.
    """

    __test__ = False

    nodeid: str
    rootdir: Path
    started_in: Path
    arguments: tuple[str, ...]
    spec: EngineSpec | None
    gpu: GpuRequirement | None
    settings: CheckSettings
    run_settings: Settings
    properties: list[tuple[str, object]]
    card: CardEntry | None = None
    point: Mapping[str, Any] = field(default_factory=dict)
    warn: Warn = lambda _category, _text, _line: False
    tell: Callable[[str], None] = lambda _line: None
    redact: Callable[[str], str] = lambda text: text
    stored: Callable[[str], Sequence[str]] = lambda _profile: ()
    verbose: bool = False
    columns: int = WIDTH
    raised: bool = False
    failed: bool = False
    excused: bool = False
    waiting: bool = False
    pending: list[Check] = field(default_factory=list)
    records: list[CheckRecord] = field(default_factory=list)
    measured: list[Measurement] = field(default_factory=list)
    shared: list[Measurement] = field(default_factory=list)
    shares: bool = False
    recordings: Recordings = field(default_factory=Recordings)
    compared: list[EngineComparison] = field(default_factory=list)
    traces: list[KernelTrace] = field(default_factory=list)
    claims: int = 0
    failures: list[Failure] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    overloads: list[OverloadRecord] = field(default_factory=list)
    fits: list[FitRecord] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _checks: list[Check] = field(default_factory=list)
    _checked: list[Measurement] = field(default_factory=list)
    _promised: list[Slo | None] = field(default_factory=list)
    _late_promise: bool = False
    _foretold: set[str] = field(default_factory=set)
    _told_unchecked: bool = False
    _warned: set[type[VllmPerfWarning]] = field(default_factory=set)
    _shared_profiles: set[str] = field(default_factory=set)

    def site(self, name: str | None, line: tuple[str, int]) -> Site:
        """Where the next check stands.

        Raises:
            SpecError: for a name that this test has used already, or that could be mistaken for a test's.
        """
        return Site(TestId.parse(self.nodeid).module, self._check_name(name), self.record_command(), line)

    def foretell(self, line: str) -> None:
        """Tell a person what is known before it is measured; the same of a test only once."""
        if line and line not in self._foretold:
            self._foretold.add(line)
            self.tell(line)

    def add(self, check: Check, run: Measurement) -> None:
        """Take in a check of a measurement."""
        self._checks.append(check)
        self._checked.append(run)
        self._promised.append(run.promised)
        self.pending.append(check)

    def check_reference(self, run: Measurement) -> None:
        """See that a measurement was made with the reference that this test's marker asks for.

        Raises:
            SpecError: for one that another test, or `vllmperf_session`, made with that of the run.
        """
        asked = self.settings.against
        if not any(run is one for one in self.measured) and asked != self.run_settings.check.against:
            raise SpecError(
                f"{self.nodeid}: the marker vllmperf(against={asked or 'off'!r}) cannot change how a shared "
                "measurement was made; measure in the test, with vllmperf.measure(), or leave against= out"
            )

    def conclude(self, check: Check) -> Failure | None:
        """Book a check that will see no further engine; why it fails the test, if it does."""
        self.pending.remove(check)
        settings = replace(self.run_settings, reason=self.redact(self.run_settings.reason))
        record, failure = conclude(check, settings, every=self.verbose, width=self.columns)
        self.records.append(record)
        self.properties += terminal.properties(record)
        if failure is not None:
            self.failures.append(failure)
        return failure

    def conclude_all(self) -> list[Failure]:
        """Book every check that is left; why checks fail the test, those included that the test caught itself."""
        for check in list(self.pending):
            self.conclude(check)
        self._refuse_unchecked()
        self._warn_of(Status.NOISY, NoisyWarning)
        self._warn_of(Status.DRIFTED, DriftedWarning)
        return self.failures

    def _refuse_unchecked(self) -> None:
        """A metric that was recorded in order to be gated, and was not: its test fails, once."""
        loose = {} if self.raised else self.recordings.unchecked(self.is_checked)
        if not loose or self._told_unchecked:
            return
        self._told_unchecked = True
        text = f"{self.nodeid}: recorded but never checked: {', '.join(loose)}; call vllmperf.check(run) after record()"
        self.failures.append(Failure(text, next(iter(loose.values())).line))

    def _warn_of(self, status: Status, category: type[VllmPerfWarning]) -> None:
        """Warn of checks with this verdict, once for a test; one that fails for being NOISY says so itself."""
        text = remarks.warning(status, self.records)
        if not text or category in self._warned or (status is Status.NOISY and self.run_settings.noisy_fails):
            return
        self._warned.add(category)
        line = next(
            check.plan.site.line
            for check, record in zip(self._checks, self.records, strict=False)
            if record.verdict.status is status
        )
        if self.warn(category, text, line) and not self.failures:
            reason = f"A warning filter turns {category.__name__} into an error."
            self.failures.append(Failure(f"{text}\n{reason}", line, verdict=True))

    def results(self) -> TestResults:
        """All that the test came to; of a row whose measurement was checked, with the engines of the check."""
        rows = [row.model_copy(update={"engines": self._engines(row)}) for row in self.rows]
        return TestResults(
            checks=tuple(self.records),
            comparisons=tuple((self.nodeid, one.record()) for one in self.compared),
            rows=tuple(rows),
            asserted=bool(self.records or self.compared or self.rows or self.claims or self._looked_at()),
            unchecked=(*self._unchecked(), *self._not_asserted(), *self._not_made()),
            traces=tuple((self.nodeid, one) for one in self.traces),
            measured=tuple(map(measured_record, map(self.recordings.of, self._not_checked())))
            if self.run_settings.reports
            else (),
            overloads=tuple(self.overloads),
            fits=tuple(self.fits),
            point=dict(self.point),
        )

    def is_checked(self, run: Measurement) -> bool:
        """Whether a measurement has been checked."""
        return any(run is one for one in self._checked)

    def _not_checked(self) -> list[Measurement]:
        return [run for run in (*self.measured, *self.shared) if not self.is_checked(run)]

    def end_traces(self) -> None:
        """Keep the traces of a test that failed, and remove those of one that passed."""
        folder, made = self.run_settings.trace, self._made_traces()
        if folder is None or self.traces:
            return
        if self.failed:
            self.traces = keep_traces(self.nodeid, made, folder)
        else:
            others = [id(one) for run in self._checked if not self._made(run) for one in run.kernel_traces]
            drop_traces([one for one in made if id(one) not in others])

    def _made(self, run: Measurement) -> bool:
        return any(run is one for one in self.measured)

    def _made_traces(self) -> list[KernelTrace]:
        """Of all engines of the test, in order; a check has those of the measurement that it began with."""
        last = {id(run): run for run in self.measured}
        for check, run in zip(self._checks, self._checked, strict=True):
            last[id(run)] = check.measurement
        found = [one for run in last.values() for one in run.kernel_traces]
        found += [one for pair in self.compared for run in (pair.a, pair.b) for one in run.kernel_traces]
        found = [one for one in found if one.file is None or one.file.exists()]  # a test that shares it has moved it
        return list({id(one): one for one in found}.values())

    def _looked_at(self) -> list[Measurement]:
        return [run for run in self.measured if run.looked_at]

    def _unchecked(self) -> tuple[str, ...]:
        """What a test measured and nobody looked at; a test that failed says enough."""
        if self.raised:
            return ()
        if not (self.measured or self._checked or self.compared or self.claims):
            if self.shares:
                return (f"{self.nodeid}: the test uses vllmperf_session but looks at none of its measurements",)
            return (f"{self.nodeid}: the test uses the vllmperf fixture but measures nothing; call vllmperf.measure()",)
        if self.card is not None and not self.rows:
            return (f"{self.nodeid}: no row was added to the scorecard {self.card.name}; call vllmperf.measure()",)
        used = [*self._checked, *self._looked_at()]
        forgotten = [run for run in self.measured if not any(run is one for one in used)]
        if self._late_promise or self._promised_late(self.measured):
            return (
                f"{self.nodeid}: assert_slo() was called after check(); call it before, so that check() can "
                f"gate goodput",
            )
        if not forgotten or self.card is not None:
            return ()
        number = "a measurement was" if len(forgotten) == 1 else f"{len(forgotten)} measurements were"
        return (f"{self.nodeid}: {number} never checked; call vllmperf.check(run)",)

    def _not_asserted(self) -> list[str]:
        """That a test compared two engines and asked for nothing of it."""
        if self.raised or all(one.looked_at for one in self.compared):
            return []
        return [
            f"{self.nodeid}: a comparison was never asserted; call assert_speedup() or assert_not_slower() of what "
            "compare() returns"
        ]

    def _not_made(self) -> list[str]:
        """Checks that are stored for what a test that passed has measured, and that it did not make: in words.

        They stay stored: whether a test makes a check may depend on the machine.
        """
        if self.raised or self.failures:
            return []
        made = {(run.profile, check.plan.site.name) for check, run in zip(self._checks, self._checked, strict=True)}
        profiles = sorted({*(run.profile for run in (*self.measured, *self._checked)), *self._shared_profiles})
        module = TestId.parse(self.nodeid).module
        file = f"{ids.module_stem(module)}.json"
        return [
            f"{TestId(module, name)}: stored in {profile}/{file}, but the test did not make this check; call check() "
            "as before, or delete the entry in the file"
            for profile in profiles
            for name in self.stored(profile)
            if (profile, name) not in made
        ]

    def note_shared(self, shared: Sequence[Measurement]) -> None:
        """The test is over: note what it did with measurements that the next test will look at anew."""
        self._shared_profiles = {run.profile for run in shared if run.looked_at}
        if self._shared_profiles:
            self.claims += 1
        self._late_promise = self._promised_late(shared)

    def _promised_late(self, runs: Sequence[Measurement]) -> bool:
        """Whether the SLO of one of these was asserted after its check."""
        checks = zip(self._checked, self._promised, strict=True)
        return any(run.promised != then for run, then in checks if any(run is one for one in runs))

    def _engines(self, row: Row) -> tuple[EngineSamples, ...]:
        first = row.engines[0]
        checked = [one.session.engines for one in self.records if _without_recorded(one.session.engines[0]) == first]
        return max([row.engines, *map(tuple, checked)], key=len)

    def _check_name(self, name: str | None) -> str:
        """The name of the next check in the baseline file: the test's, and the check's own behind it."""
        text = name is None or isinstance(name, str)
        if name is not None and (not text or not name or "]" in name or CHECK_SEPARATOR in name):
            raise SpecError(
                f"{self.nodeid}: check name {shown(name)} is not valid: it must be a text, and must not be empty or "
                f"contain ']' or '{CHECK_SEPARATOR}'"
            )
        if name is None and self._names:
            name = str(len(self._names) + 1)
        full = CheckId(TestId.parse(self.nodeid), name or "").name
        if full in self._names:
            raise SpecError(f"{self.nodeid}: two checks have the name {name!r}; give each a different name")
        self._names.append(full)
        return full

    def record_command(self) -> str:
        """The command that records this test's baseline, from where pytest was started."""
        test = TestId.parse(self.nodeid)
        here = TestId(os.path.relpath(self.rootdir / ids.raw(test.module), self.started_in), ids.raw(test.name))
        return shlex.join(["pytest", "--vllmperf-update-new", *self.arguments, str(here)])


def _without_recorded(engine: EngineSamples) -> EngineSamples:
    return engine.model_copy(update={"recorded": {}})


CONTEXT = pytest.StashKey[TestContext]()
"""Where a test's context lies once its fixture was asked for."""
