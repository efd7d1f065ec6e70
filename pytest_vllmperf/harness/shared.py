"""Measurements of `vllmperf_session`: which test each was made in, and which tests looked at it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from pytest_vllmperf.checking.plan import InRun
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.harness import collection
from pytest_vllmperf.harness.context import CONTEXT, TestContext
from pytest_vllmperf.harness.contexts import Contexts
from pytest_vllmperf.harness.flags import SESSION_FIXTURE
from pytest_vllmperf.harness.outcomes import Outcomes
from pytest_vllmperf.harness.session_fixture import VllmPerfSession
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.records.settings import Settings

_OUTPUT: Final = "vllmperf_shared"


@dataclass
class _Shared:
    """A measurement that several tests share.

    Attributes:
        run: the measurement.
        made_in: the node id of the test in which it was made.
        promised: what a fixture of a wider scope has asserted with `assert_slo`; None for nothing.
        used: whether any test looked at it, or checked it.
    """

    run: Measurement
    made_in: str
    promised: Slo | None = None
    used: bool = False


class SharedMeasurements:
    """Hooks of an armed run for `vllmperf_session`. Each worker of xdist has its own.

    Args:
        config: of the run.
        settings: the run's.
        contexts: of the running tests.
        outcomes: takes in what was measured and not looked at.
    """

    def __init__(self, config: pytest.Config, settings: Settings, contexts: Contexts, outcomes: Outcomes) -> None:
        self._config = config
        self._settings = settings
        self._contexts = contexts
        self._outcomes = outcomes
        self._running: pytest.Item | None = None
        self._all: list[_Shared] = []

    def fixture(self, perf: Lab, in_run: InRun) -> VllmPerfSession:
        """The fixture's value.

        Args:
            perf: measures.
            in_run: what the whole run knows.
        """
        self._context()  # the test counts, be it that it asked for the fixture while it runs
        own = TestContext(
            nodeid=SESSION_FIXTURE,
            rootdir=self._config.rootpath,
            started_in=self._config.invocation_params.dir,
            arguments=(),
            spec=None,
            gpu=None,
            settings=self._settings.check,
            run_settings=self._settings,
            properties=[],
        )
        return VllmPerfSession(perf, own, in_run, self._contexts.check_gpu, self._add, self._context)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """A test begins: it has looked at nothing. Its context is there before the first of its fixtures."""
        self._running = item
        self._contexts.begin(item)
        for one in self._all:
            one.run.look_anew(one.promised)
        if collection.shares(item):
            self._contexts.of(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        """What a fixture of a wider scope asserts of a measurement holds for all tests."""
        made = yield
        if fixturedef.scope != "function":
            for one in self._all:
                one.promised = one.run.promised
        return made

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """A test is over: note what it looked at, before another test does."""
        context = item.stash.get(CONTEXT, None)
        if context is not None:
            context.note_shared([one.run for one in self._all])
        for one in self._all:
            checked = context is not None and context.is_checked(one.run)
            one.used = one.used or one.run.looked_at or checked
        try:
            return (yield)
        finally:
            self._running = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Name measurements that no test looked at; a worker of xdist hands them on."""
        unused = [
            f"{one.made_in}: no test looked at a measurement of {SESSION_FIXTURE} ({one.run.spec_label})"
            for one in self._all
            if not one.used
        ]
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput[_OUTPUT] = unused
        else:
            self._outcomes.unchecked += unused

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """What a worker measured and no test of its looked at."""
        self._outcomes.unchecked += getattr(node, "workeroutput", {}).get(_OUTPUT, ())

    def _add(self, run: Measurement) -> None:
        """Take in a measurement that was made."""
        context = self._context()
        context.shared.append(run)
        self._all.append(_Shared(run, context.nodeid))

    def _context(self) -> TestContext:
        """The context of the running test.

        Raises:
            SpecError: where none runs.
        """
        if self._running is None:
            raise SpecError(f"{SESSION_FIXTURE} can only measure while a test runs, or one of its fixtures is set up")
        return self._contexts.of(self._running)
