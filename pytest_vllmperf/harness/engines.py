"""`TestEngines`: the base of the fixture's methods: finds the engine of a test and measures on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import pytest

from pytest_vllmperf.checking.failing import fail
from pytest_vllmperf.checking.plan import InRun
from pytest_vllmperf.engines.backends import BACKENDS
from pytest_vllmperf.errors import EngineUnsupportedError, ReferenceEngineError, SpecError
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.harness.context import TestContext
from pytest_vllmperf.harness.options import call_settings
from pytest_vllmperf.lab import taking
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.settings import AUTO
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.report.escaping import terminal_line


class TestEngines:
    """The engines of a running test.

    Args:
        session: measures.
        test: the running test.
        in_run: what the whole run knows.
    """

    __test__ = False
    _name_one = "mark the test with @pytest.mark.vllm(model, ...) or pass engine="
    """What to do where no engine is named."""

    def __init__(self, session: Lab, test: TestContext, in_run: InRun) -> None:
        self._session = session
        self._test = test
        self._in_run = in_run

    def engine(self, model: str | os.PathLike[str], **kwargs: Any) -> EngineSpec:
        """An engine for `measure` or `compare`, with the arguments of `@pytest.mark.vllm`. It is not started yet.

        Raises:
            SpecError: for arguments that are not valid.
        """
        spec = EngineSpec.create(model, **kwargs)
        self._session.redactor.learn(spec)
        return BACKENDS.checked(spec)

    def _measured(self, take: Take) -> Measurement:
        """A measurement; where it is void for what another engine would not meet, of one more engine, once."""
        __tracebackhide__ = True
        try:
            run = taking.measure(self._session, take)
            if not run.transient:
                return run
            self._session.retire(take.targets)
            return taking.measure(self._session, take, 2).without(run)
        except ReferenceEngineError as error:
            fail(f"INVALID  {self._test.nodeid}: {error}", log_tail=error.log_tail)

    @contextmanager
    def _where_supported(self) -> Iterator[None]:
        """Skip the test where the build or GPU cannot run an engine, if its marker says so."""
        try:
            yield
        except EngineUnsupportedError as error:
            if self._test.settings.unsupported != "skip":
                raise
            raise pytest.skip.Exception(terminal_line(str(error)), _use_item_location=True) from None

    def _taken(self, take: Take) -> Measurement:
        """A measurement of the test."""
        __tracebackhide__ = True
        with self._where_supported():
            run = self._measured(take)
        self._test.measured.append(run)
        return run

    def _target(self, engine: EngineSpec | None, gpu: GpuRequirement | None = None) -> Target:
        spec = engine or self._test.spec
        if spec is None:
            raise SpecError(f"{self._test.nodeid}: no engine to measure; {self._name_one}")
        return self._session.target(self._on_interpreter(spec), gpu or self._test.gpu)

    def _on_interpreter(self, spec: EngineSpec) -> EngineSpec:
        """The engine as the run asks for it: on the interpreter of `--vllmperf-python`, where vLLM runs it.

        Raises:
            SpecError: for an engine that names another interpreter itself.
        """
        python = self._test.run_settings.python
        if not python or not BACKENDS.of(spec).against or spec.python == python:
            return spec
        if spec.python != sys.executable:
            raise SpecError(
                f"{self._test.nodeid}: the engine {spec.label} names its own interpreter (python=), which "
                "--vllmperf-python does not replace; leave one of the two out"
            )
        return replace(spec, python=python)

    def _measure_settings(
        self,
        iterations: int | None,
        warmup: int | Literal["auto"] | None,
        device_pass: int | Literal["off"] | None = None,
    ) -> MeasureSettings:
        given = call_settings(iterations=iterations, warmup=warmup, device_pass=device_pass)
        own = given.over(self._test.settings)
        assert own.iterations is not None
        assert own.device_pass is not None
        warm = None if own.warmup == AUTO else own.warmup
        return MeasureSettings(warm, own.iterations, self._session.settings.client_processes, own.device_pass)
