"""The hooks of an armed run: order the tests, carry their checks to one process, write and report there."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest

from pytest_vllmperf.checking.gated import GatedTest, gated_metrics
from pytest_vllmperf.comparing.scorecards import scorecards
from pytest_vllmperf.errors import BaselineError, EngineError, NoGpuError, SpecError, VllmPerfError
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.harness import collection, options
from pytest_vllmperf.harness.collection import Collected, Outcomes, is_performance_test
from pytest_vllmperf.harness.console import Console
from pytest_vllmperf.harness.context import TestContext
from pytest_vllmperf.harness.fixture import VllmPerf
from pytest_vllmperf.harness.protocol import CONTEXT, Protocol
from pytest_vllmperf.harness.results import ModuleTests, Results
from pytest_vllmperf.lab.perf import PerfSession
from pytest_vllmperf.records.ids import TestId
from pytest_vllmperf.records.results import TestResults
from pytest_vllmperf.records.settings import Settings, Update
from pytest_vllmperf.report import scorecards as report_scorecards
from pytest_vllmperf.report import terminal
from pytest_vllmperf.report.verdicts import folded
from pytest_vllmperf.storage.baselines import BaselineStore
from pytest_vllmperf.storage.scorecards import check_folder, write_scorecards

_NAME = "vllmperf-armed"
_ASKED = pytest.StashKey[bool]()
_OUTPUT = "vllmperf_modules"
_PERFORMANCE_TEST = "vllmperf_test"
_CUT_SHORT = (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR)


def register(config: pytest.Config) -> None:
    """Check what can be checked before a GPU is touched, then add the hooks.

    Raises:
        pytest.UsageError: for a flag or ini setting that cannot be meant, a baseline file that cannot be read, or a
            folder that cannot be written.
    """
    try:
        settings = options.settings(config)
        if not is_worker(config):
            store = BaselineStore(settings.baselines)
            store.validate()
            if settings.update is not Update.NONE or settings.append:
                store.check_writable()
            check_folder(settings.scorecards)
    except (SpecError, BaselineError) as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(ArmedPlugin(config, settings), _NAME)


def fixture(config: pytest.Config, item: pytest.Item) -> VllmPerf:
    """The fixture's value for one test."""
    plugin: ArmedPlugin = config.pluginmanager.get_plugin(_NAME)  # type: ignore[assignment]
    return plugin.fixture(item)


def _section(terminalreporter: Any, title: str, lines: Sequence[str]) -> None:
    terminalreporter.section(title)
    for line in lines:
        terminalreporter.line(line)


def is_worker(config: pytest.Config) -> bool:
    """Whether this is a worker of xdist, whose controller reports and writes."""
    return hasattr(config, "workerinput")


class ArmedPlugin:
    """Hooks of one armed process. Under xdist the workers measure and the controller writes."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._console: Console | None = None
        self._collected = Collected(config)
        self._outcomes = Outcomes()
        self._results = Results()
        self._perf = PerfSession(settings, self._progress)
        shared = not is_worker(config) and not config.getoption("maxfail")
        self._protocol = Protocol(self._perf, shared=shared, before_report=self._clear)
        self._tests: list[GatedTest] = []
        self._gated: dict[tuple[str, str], int] = {}
        self._notes: list[str] = []
        self._leaks: list[str] = []
        self._failed: set[str] = set()
        self._ended: set[str] = set()

    def fixture(self, item: pytest.Item) -> VllmPerf:
        """A test's fixture, once its GPU is known to exist.

        Raises:
            SpecError: for a marker that cannot be meant.
            NoGpuError: when there is no GPU, or none that its marker asks for, and the run requires one.
        """
        item.stash[_ASKED] = True
        marked = collection.read_markers(item)
        self._check_gpu(marked.gpu)
        context = TestContext(
            nodeid=item.nodeid,
            rootdir=self._config.rootpath,
            started_in=self._config.invocation_params.dir,
            arguments=options.repeated(self._config),
            spec=marked.spec,
            gpu=marked.gpu,
            settings=marked.settings.over(self._settings.check),
            properties=item.user_properties,
            card=marked.card,
        )
        item.stash[CONTEXT] = context
        return VllmPerf(self._perf, context, self._gated_in_run)

    def _check_gpu(self, wanted: GpuRequirement | None) -> None:
        """Skip a test that no GPU of this machine fits, or fail it; a driver that fails is an error either way."""
        required, gpus = self._settings.require_gpu, self._perf.gpus
        if wanted is None:
            if required and not gpus:
                raise NoGpuError("--vllmperf-require-gpu: this machine has no GPU")
            return
        try:
            self._perf.require(wanted)
        except NoGpuError as error:
            if required:
                raise NoGpuError(f"--vllmperf-require-gpu: {error}") from None
            pytest.skip(str(error))

    def _gated_in_run(self, profile: str, device: str) -> int:
        if (profile, device) not in self._gated:
            self._gated[profile, device] = gated_metrics(self._tests, self._perf.store, profile, device)
        return self._gated[profile, device]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, None, None]:
        """Note what there is before others deselect, order what is left after them."""
        self._collected.add(items)
        yield
        items[:] = collection.ordered(items)
        for item in filter(is_performance_test, items):
            try:
                marked = collection.read_markers(item)
            except SpecError as error:
                if is_worker(self._config):  # a worker's tests tell it themselves, each its own
                    continue
                raise pytest.UsageError(str(error)) from None
            gate = marked.settings.over(self._settings.check).gate or ()
            test = TestId.parse(item.nodeid)
            self._tests.append(GatedTest(test.module, test.name, gate))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """A performance test is reported once its checks are settled; engines end with the last of them."""
        if not is_performance_test(item):
            return None
        self._protocol.run(item, nextitem)
        if nextitem is None or not is_performance_test(nextitem):
            self._release()
        return True

    def _release(self) -> None:
        """End the engines; memory that does not come back fails the run, which says who holds it."""
        try:
            self._perf.release()
        except EngineError as error:
            self._clear()
            self._leaks = list(dict.fromkeys([*self._leaks, f"ERROR: {error}"]))

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """A module with a deselected test has not run whole."""
        self._collected.deselected(items)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note whose report it is and that something was raised, and show an error of ours in one line."""
        report = yield
        self._clear()
        if is_performance_test(item) or _ASKED in item.stash:
            setattr(report, _PERFORMANCE_TEST, True)  # for the process that counts, which has no items under xdist
        context = item.stash.get(CONTEXT, None)
        if context is not None and call.excinfo is not None:
            context.raised = True
        error = call.excinfo.value if call.excinfo is not None else None
        if isinstance(error, VllmPerfError) and call.excinfo is not None:
            report.longrepr = call.excinfo.getrepr(style="value")
            if isinstance(error, EngineError) and error.log_tail:
                report.sections.append(("end of the engine's log", error.log_tail))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in a test that has come to its end, here or from a worker."""
        if hasattr(report, _PERFORMANCE_TEST):
            self._outcomes.add(report)
        if report.failed:
            self._failed.add(report.nodeid)
        if report.when == "teardown":
            self._ended.add(report.nodeid)
            test = TestResults.model_validate(getattr(report, "vllmperf", {}))
            self._results.add(test, passed=report.nodeid not in self._failed)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """An xdist worker has ended: only workers collect, so what there is comes from them."""
        told = getattr(node, "workeroutput", {}).get(_OUTPUT, {"modules": {}, "leaks": []})
        for module, (names, whole) in told["modules"].items():
            self._results.modules[module] = ModuleTests(frozenset(names), whole)
        self._leaks += told["leaks"]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write what was recorded; in a worker, hand on what was collected."""
        modules = self._collected.modules()
        if is_worker(self._config):
            told = {module: (sorted(tests.names), tests.whole) for module, tests in modules.items()}
            handed = {"modules": told, "leaks": self._leaks}
            self._config.workeroutput[_OUTPUT] = handed  # type: ignore[attr-defined]
            return
        self._results.modules.update(modules)
        self._results.failed_modules |= {
            module
            for module, tests in self._results.modules.items()
            if any(
                f"{module}::{name}" in self._failed or f"{module}::{name}" not in self._ended for name in tests.names
            )
        }
        try:
            self._write(exitstatus)
        except BaselineError as error:
            self._notes.append(f"ERROR: {error}")
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        self._fail_if_nothing_measured(session)
        self._notes += [line for leak in self._leaks for line in folded(leak)]
        if self._leaks:
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED

    def _fail_if_nothing_measured(self, session: pytest.Session) -> None:
        reason = self._outcomes.nothing_measured()
        if reason is None or session.exitstatus in _CUT_SHORT:
            return
        self._notes += folded(reason)
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED

    def _write(self, exitstatus: int) -> None:
        if self._settings.update is Update.NONE and not self._settings.append:
            return
        if exitstatus in _CUT_SHORT:
            self._notes.append("nothing was recorded: the run did not come to its end")
            return
        self._results.write(self._perf.store, prune=self._settings.update is Update.ALL)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The table of checks, and what became of the baselines."""
        results = self._results
        try:
            stale = results.stale(self._perf.store)
            orphans = results.orphans(self._perf.store, self._config.rootpath)
        except BaselineError as error:
            stale, orphans, self._notes = {}, [], [*self._notes, f"ERROR: {error}"]
        cards = scorecards(results.rows)
        columns = self._config.get_terminal_writer().fullwidth
        names = terminal.names(results.checks, results.comparisons, columns)
        lines = terminal.summary(results.checks, names) + terminal.comparisons(results.comparisons, names)
        if self._config.get_verbosity() > 0:
            lines += terminal.ledgers(results.checks)
        if results.written:
            lines += terminal.outlooks(results.recorded, names)
        lines += terminal.books(results.written, results.pruned, stale, orphans, rootdir=self._config.rootpath)
        try:
            lines += terminal.written_lines(
                write_scorecards(cards, self._settings.scorecards, report_scorecards.markdown), self._config.rootpath
            )
        except BaselineError as error:
            lines.append(f"ERROR: {error}")
        lines += self._notes
        if lines:
            profiles = sorted({check.profile for check in results.checks})
            _section(terminalreporter, terminal.summary_title(profiles), lines)
        for card in cards:
            _section(terminalreporter, f"vllmperf: {card.profile}", report_scorecards.terminal(card))

    def pytest_unconfigure(self) -> None:
        """End everything that was started, however the run ended."""
        self._perf.close()

    def _clear(self) -> None:
        if self._console is not None:
            self._console.clear()

    def _progress(self, doing: str, waited: float) -> None:
        if self._console is None:
            self._console = Console(self._config)
        self._console.progress(doing, waited)
