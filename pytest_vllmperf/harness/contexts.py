"""Makes the context of each test that measures, once a GPU that it asks for is known to exist."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from pytest_vllmperf.errors import BaselineError, NoGpuError
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.harness import against, collection, options, sweeping
from pytest_vllmperf.harness.context import CONTEXT, TestContext
from pytest_vllmperf.harness.foretelling import columns
from pytest_vllmperf.harness.warned import warn
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.ids import TestId
from pytest_vllmperf.records.settings import Settings
from pytest_vllmperf.report.escaping import terminal_line

ASKED = pytest.StashKey[bool]()
"""Set where a test asked for a fixture, be it while it runs."""


class Contexts:
    """The contexts of the running tests; one for each run of a test.

    Args:
        config: of the run.
        settings: the run's.
        perf: knows the GPUs.
        tell: shows a line about a test to a person.
    """

    def __init__(
        self, config: pytest.Config, settings: Settings, perf: Lab, tell: Callable[[TestId, str], None]
    ) -> None:
        self._config = config
        self._settings = settings
        self._perf = perf
        self._tell = tell

    def begin(self, item: pytest.Item) -> None:
        """A test is about to be set up, maybe once more: nothing of an earlier run of it counts."""
        if CONTEXT in item.stash:
            del item.stash[CONTEXT]

    def of(self, item: pytest.Item) -> TestContext:
        """The context of a test, made when it is first asked for.

        Raises:
            SpecError: for a marker that is not valid.
            NoGpuError: when there is no GPU, or none that its marker asks for, and the run requires one.
        """
        item.stash[ASKED] = True
        if CONTEXT not in item.stash:
            item.stash[CONTEXT] = self._made(item)
        return item.stash[CONTEXT]

    def check_gpu(self, wanted: GpuRequirement | None) -> None:
        """Skip a test that no GPU of this machine fits, or fail it; a driver that fails is an error either way.

        Raises:
            NoGpuError: where the run requires a GPU.
        """
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
            pytest.skip(terminal_line(str(error)))

    def _stored(self, test: TestId, profile: str) -> list[str]:
        """The names of a test's checks in the baseline of a profile; none of a file that cannot be read."""
        with suppress(BaselineError):  # whoever needs it says what is wrong with it
            return list(self._perf.store.of_test(profile, test))
        return []

    def _made(self, item: pytest.Item) -> TestContext:
        marked = collection.read_markers(item)
        if marked.spec is not None:
            self._perf.redactor.learn(marked.spec)
        self.check_gpu(marked.gpu)
        against.check(marked.settings.against, self._settings)
        return TestContext(
            nodeid=str(collection.test_id(item)),
            rootdir=self._config.rootpath,
            started_in=self._config.invocation_params.dir,
            arguments=options.repeated(self._config),
            spec=marked.spec,
            gpu=marked.gpu,
            settings=marked.settings.over(self._settings.check),
            run_settings=self._settings,
            properties=item.user_properties,
            card=marked.card,
            point=sweeping.shown_point(item, marked.spec),
            warn=partial(warn, item),
            tell=partial(self._tell, collection.test_id(item)),
            redact=self._perf.redactor.text,
            stored=partial(self._stored, collection.test_id(item)),
            verbose=options.is_verbose(self._config),
            columns=columns(self._config),
            shares=collection.shares(item),
        )
