"""The hooks of an armed run: order the tests, carry their checks to one process, write and report there."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from typing import Any
from unittest import SkipTest

import pytest

from pytest_vllmperf.checking.gated import GatedRun, GatedTest
from pytest_vllmperf.checking.history import History
from pytest_vllmperf.checking.plan import InRun, check_recording
from pytest_vllmperf.errors import BaselineError, CheckFailed, EngineError, SpecError, VllmPerfError
from pytest_vllmperf.harness import against, collection, colours, ending, failures, options, stale
from pytest_vllmperf.harness.collection import Collected, Places, can_check, is_performance_test
from pytest_vllmperf.harness.console import Console
from pytest_vllmperf.harness.context import CONTEXT
from pytest_vllmperf.harness.contexts import ASKED, Contexts
from pytest_vllmperf.harness.ending import Ending, Run
from pytest_vllmperf.harness.fixture import VllmPerf
from pytest_vllmperf.harness.foretelling import Foretelling
from pytest_vllmperf.harness.foretold import Ahead
from pytest_vllmperf.harness.github import GitHubJob
from pytest_vllmperf.harness.outcomes import Outcomes
from pytest_vllmperf.harness.protocol import Protocol, attach, attached
from pytest_vllmperf.harness.redaction import Redaction
from pytest_vllmperf.harness.reporting import PERFORMANCE_TEST, RunReporter
from pytest_vllmperf.harness.results import ModuleTests, Results
from pytest_vllmperf.harness.seen import BY_VERDICT, LOG_TAIL
from pytest_vllmperf.harness.session_fixture import VllmPerfSession
from pytest_vllmperf.harness.shared import SharedMeasurements
from pytest_vllmperf.harness.signals import EndSignals
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.ids import TestId
from pytest_vllmperf.records.results import TestResults
from pytest_vllmperf.records.settings import Settings, Update
from pytest_vllmperf.report import scorecards as report_scorecards
from pytest_vllmperf.report import terminal
from pytest_vllmperf.report.escaping import terminal_line, terminal_text
from pytest_vllmperf.report.verdicts import folded
from pytest_vllmperf.storage.baselines import BaselineStore
from pytest_vllmperf.storage.scorecards import check_folder
from pytest_vllmperf.storage.variables_key import check_key

_NAME = "vllmperf-armed"
_REDACTION = "vllmperf-redaction"
_SHARED = "vllmperf-shared"
_REPORTER = "vllmperf-reporter"
_FORETELLING = "vllmperf-foretelling"
_OUTPUT = "vllmperf_modules"


def register(config: pytest.Config) -> None:
    """Check what can be checked before a GPU is touched, then add the hooks.

    Raises:
        pytest.UsageError: for a flag or ini setting that is not valid, a baseline file that cannot be read, or a
            folder that cannot be written.
    """
    try:
        settings = options.settings(config)
        check_recording(settings)
        against.check(settings.check.against, settings)
        against.check_python(settings.python)
        if not options.is_worker(config):
            store = BaselineStore(settings.baselines)
            store.validate(config.rootpath)
            if settings.update is not Update.NONE or settings.append:
                store.check_writable()
                store.sweep()
            check_folder(settings.scorecards)
            check_folder(settings.trace, "traces")
        check_key(os.environ)
    except (SpecError, BaselineError, OSError) as error:  # OSError: of a folder that cannot be looked at
        stale.forget(config)
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise pytest.UsageError(terminal_text(reason)) from None
    plugin = ArmedPlugin(config, settings)
    config.pluginmanager.register(plugin, _NAME)
    config.pluginmanager.register(Redaction(plugin.redactor), _REDACTION)
    config.pluginmanager.register(plugin.foretelling(), _FORETELLING)
    config.pluginmanager.register(plugin.shared, _SHARED)
    if settings.reports or GitHubJob.found(settings, os.environ, config.rootpath):
        config.pluginmanager.register(plugin.reporter(), _REPORTER)


def fixture(config: pytest.Config, item: pytest.Item) -> Iterator[VllmPerf]:
    """The fixture's value for one test, and its end."""
    plugin: ArmedPlugin = config.pluginmanager.get_plugin(_NAME)  # type: ignore[assignment]
    yield plugin.fixture(item)
    plugin.end_of_fixture(item)


def session_fixture(config: pytest.Config) -> VllmPerfSession:
    """The value of the fixture for several tests."""
    plugin: ArmedPlugin = config.pluginmanager.get_plugin(_NAME)  # type: ignore[assignment]
    return plugin.session_fixture()


def _section(terminalreporter: Any, title: str, lines: Sequence[str]) -> None:
    writer = terminalreporter._tw  # the only one that knows whether there are colours
    terminalreporter.section(terminal_line(title))
    for text in lines:
        for line in terminal_text(text).split("\n"):
            writer.line(colours.coloured(line, writer))


class ArmedPlugin:
    """Hooks of one armed process. Under xdist the workers measure and the controller writes.

    Attributes:
        redactor: takes secrets out of what this process shows.
        shared: the measurements of `vllmperf_session`.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._console: Console | None = None
        self._collected = Collected(config)
        self._places = Places(config)
        self._outcomes = Outcomes()
        self._ending = Ending()
        self._signals = EndSignals()
        self._results = Results()
        self._perf = Lab(settings, self._progress, live=lambda: self._shown().live)
        self.redactor = self._perf.redactor
        shared = not options.is_worker(config) and not config.getoption("maxfail")
        self._protocol = Protocol(self._perf, shared=shared, before_report=self._clear)
        self._gated = GatedRun(self._perf.store)
        store = self._perf.store
        self._in_run = InRun(
            self._gated.metrics, History(store).priors, lambda check: store.profiles_of(check.test.module, check.__eq__)
        )
        self._leaks: list[str] = []
        self._ahead = Ahead(self._perf.store, settings)
        self._contexts = Contexts(config, settings, self._perf, self._tell)
        self.shared = SharedMeasurements(config, settings, self._contexts, self._outcomes)

    def reporter(self) -> RunReporter:
        """What writes the whole run to a file."""
        return RunReporter(self._config, self._settings, self._results, self._ending, self._perf)

    def foretelling(self) -> Foretelling:
        """What tells of tests without a baseline before anything is measured."""
        worker = getattr(self._config, "workerinput", {}).get("workerid", "")
        return Foretelling(self._ahead, self.redactor, self._shown, worker)

    def pytest_report_header(self) -> list[str]:
        """Which vLLM the run is measured in turns with."""
        return [
            terminal_line(self.redactor.text(line))
            for line in against.header(self._settings.check.against, self._settings.python)
        ]

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """From here on engines may run, which must not outlive a run that is ended by a signal."""
        self._signals.install(session)

    def fixture(self, item: pytest.Item) -> VllmPerf:
        """A test's fixture, once its GPU is known to exist.

        Raises:
            SpecError: for a marker that is not valid, or a test whose baseline has no place of its own.
            NoGpuError: when there is no GPU, or none that its marker asks for, and the run requires one.
        """
        self._places.check(item)
        return VllmPerf(self._perf, self._contexts.of(item), self._in_run)

    def session_fixture(self) -> VllmPerfSession:
        """The fixture for several tests."""
        return self.shared.fixture(self._perf, self._in_run)

    def end_of_fixture(self, item: pytest.Item) -> None:
        """No check of a test is left unsettled.

        Raises:
            CheckFailed: where one fails its test, and nothing has so far.
        """
        __tracebackhide__ = True
        self._protocol.end_of_fixture(item.stash[CONTEXT])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, None, None]:
        """Note what there is before others deselect, order what is left after them."""
        collection.keep_node_ids(items)
        self._collected.add(items)
        yield
        items[:] = collection.ordered(items)
        self._places.add(items)
        for item in filter(is_performance_test, items):
            try:
                if can_check(item):
                    self._places.check(item)
                marked = collection.read_markers(item)
                against.check(marked.settings.against, self._settings)
            except SpecError as error:
                if options.is_worker(self._config):  # a worker's tests tell it themselves, each its own
                    continue
                path, line = failures.item_line(item)
                shown = f"{os.path.relpath(path, self._config.invocation_params.dir)}:{line}"
                raise pytest.UsageError(terminal_text(f"{shown}: {self.redactor.text(str(error))}")) from None
            if not can_check(item):
                continue
            own, test = marked.settings.over(self._settings.check), collection.test_id(item)
            self._gated.add(GatedTest(test.module, test.name, own.gate or (), bool(own.against)))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """A performance test is reported once its checks are settled."""
        if not is_performance_test(item):
            return None
        self._protocol.run(item, nextitem)
        return True

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Settle a test's checks while its fixtures live."""
        __tracebackhide__ = True
        try:
            result = yield
        except (KeyboardInterrupt, pytest.exit.Exception):
            self._protocol.cut_short()
            raise
        except (pytest.skip.Exception, SkipTest):
            self._protocol.end_of_call(item, failed=False, skipped=True)
            raise
        except BaseException:
            self._protocol.end_of_call(item, failed=True)
            raise
        self._protocol.end_of_call(item, failed=False)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Settle what waits for this test, which may not have run; engines end with the last performance test."""
        self._protocol.before_teardown(item)
        try:
            return (yield)
        finally:
            measured = is_performance_test(item) or ASKED in item.stash
            if measured and (nextitem is None or not is_performance_test(nextitem)):
                self._release()

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
        """Note whose report it is and that something was raised, and show an error of ours with the user's line."""
        report = yield
        self._clear()
        context = item.stash.get(CONTEXT, None)
        if is_performance_test(item) or ASKED in item.stash:
            # For the process that counts, which has no items under xdist.
            setattr(report, PERFORMANCE_TEST, collection.node_id(item))
        if context is not None and call.excinfo is not None:
            context.raised = True
            context.failed = context.failed or report.outcome == "failed"
            context.excused = context.excused or hasattr(report, "wasxfail")
        if context is not None and report.when == "teardown":
            attach(report, context)
        error = call.excinfo.value if call.excinfo is not None else None
        if isinstance(error, VllmPerfError) and call.excinfo is not None and report.outcome == "failed":
            if not item.config.getoption("fulltrace", False):
                report.longrepr = failures.shown(item, error, call.excinfo)
            if log_tail := getattr(error, "log_tail", ""):
                report.sections.append((LOG_TAIL, terminal_text(log_tail)))
            if isinstance(error, CheckFailed) and error.verdict:
                setattr(report, BY_VERDICT, True)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in a test that has come to its end, here or from a worker."""
        performance_test = hasattr(report, PERFORMANCE_TEST)
        if performance_test and not options.is_worker(self._config):  # a worker of xdist needs the id that it has sent
            report.nodeid = getattr(report, PERFORMANCE_TEST)
            colours.colour(report)
        self._outcomes.add(report, performance_test=performance_test)
        if report.when == "teardown" and performance_test:
            test = attached(report) or TestResults()
            self._outcomes.add_results(test)
            self._results.add(test, passed=report.nodeid not in self._outcomes.failed)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """An xdist worker has ended: only workers collect, so what is known of modules comes from them."""
        handed = getattr(node, "workeroutput", {}).get(_OUTPUT, {"modules": {}, "leaks": []})
        for module, (names, whole) in handed["modules"].items():
            self._results.modules[module] = ModuleTests(frozenset(names), whole)
        self._leaks += handed["leaks"]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write what was recorded and decide the exit status; in a worker, hand on what was collected."""
        self._signals.ignore()
        modules = self._collected.modules()
        if options.is_worker(self._config):
            named = {module: (sorted(tests.names), tests.whole) for module, tests in modules.items()}
            handed = {"modules": named, "leaks": self._leaks}
            self._config.workeroutput[_OUTPUT] = handed  # type: ignore[attr-defined]
            return
        self._results.modules.update(modules)
        if options.only_looks(self._config):
            return
        self._results.failed_modules |= self._unsound_modules()
        whole = exitstatus not in ending.CUT_SHORT
        run = Run(self._config.rootpath, self._config.invocation_params.dir, whole)
        self._ending.write(self._results, self._perf.store, self._settings, run)
        nothing = self._outcomes.nothing_judged() if whole else None
        reasons = [*self._outcomes.unchecked, *([nothing] if nothing else []), *self._leaks]
        self._ending.notes += [line for reason in reasons for line in folded(self.redactor.text(reason))]
        session.exitstatus = ending.exit_status(
            exitstatus,
            write_failed=self._ending.write_failed,
            nothing_judged=nothing is not None,
            leaked=bool(self._leaks),
        )

    def _unsound_modules(self) -> set[str]:
        """Modules of which a test failed, or did not come to its end."""
        sound = {str(TestId.parse(nodeid)) for nodeid in self._outcomes.ended - self._outcomes.failed}
        return {
            module
            for module, tests in self._results.modules.items()
            if any(f"{module}::{name}" not in sound for name in tests.names)
        }

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The table of checks, and what became of the baselines."""
        results, end = self._results, self._ending
        columns = self._config.get_terminal_writer().fullwidth
        names = terminal.names(results.checks, results.comparisons, columns)
        every = options.is_verbose(self._config)
        lines = terminal.summary(results.checks, names, dict(end.outlook.checks), every=every)
        lines += terminal.comparisons(results.comparisons, names)
        if every:
            lines += terminal.ledgers(results.checks)
        lines += terminal.outlooks(end.outlook.checks, end.outlook.gated, names, every=every)
        rootdir = self._config.rootpath
        lines += terminal.books(results.written, results.pruned, end.stale, end.orphans, rootdir=rootdir)
        if self._settings.append:
            lines += terminal.appended(results.checks, results.recorded, names)
        lines += terminal.written_lines(end.card_files, rootdir) + terminal.traces(results.traces, rootdir) + end.notes
        if lines:
            profiles = sorted({check.profile for check in results.checks})
            _section(terminalreporter, terminal.summary_title(profiles), lines)
        for card in end.cards:
            _section(terminalreporter, f"vllmperf: {card.profile}", report_scorecards.terminal(card))

    def pytest_unconfigure(self) -> None:
        """End everything that was started, however the run ended."""
        self._signals.ignore()
        try:
            self._perf.close()
        finally:
            self._signals.restore()

    def _clear(self) -> None:
        if self._console is not None:
            self._console.clear()

    def _progress(self, doing: str, waited: float) -> None:
        self._shown().progress(doing, waited)

    def _tell(self, test: TestId, line: str) -> None:
        """What is ahead of a test, unless that was told before."""
        if test not in self._ahead.missing:
            self._shown().say(self.redactor.text(line))

    def _shown(self) -> Console:
        if self._console is None:
            self._console = Console(self._config)
        return self._console
