"""The `vllmperf_session` fixture: measurements that several tests share, each made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NoReturn

from pytest_vllmperf.checking.plan import InRun
from pytest_vllmperf.errors import SpecError, did_you_mean
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.harness.context import TestContext
from pytest_vllmperf.harness.flags import SESSION_FIXTURE
from pytest_vllmperf.harness.given import check_requirement, check_workload, one_of
from pytest_vllmperf.harness.options import call_settings
from pytest_vllmperf.harness.rates import Rates
from pytest_vllmperf.lab import taking
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload

_OF_A_TEST = {
    "check": "a check belongs to a test: call vllmperf.check(run) in each test that should fail",
    "record": "a metric belongs to the test that checks it: call vllmperf.record(..., run=run) there",
    "compare": "a comparison belongs to a test: call vllmperf.compare(...) there",
    "overload": "it fails the test that calls it: call vllmperf.overload(...) there",
    "fit": "it belongs to a test: call vllmperf.fit(...) there",
    "assert_same_chat_template": "it fails the test that calls it: call vllmperf.assert_same_chat_template(...) there",
}


class VllmPerfSession(Rates):
    """The `vllmperf_session` fixture. Its measurements belong to no test; tests assert on them, or check them.

    Args:
        session: measures.
        context: of the fixture itself: no engine, no marker.
        in_run: what the whole run knows.
        check_gpu: skips the test where no GPU fits, or fails it.
        shared: takes in each measurement that was made.
        require_test: raises SpecError where no test runs.
    """

    _name_one = "pass engine=vllmperf_session.engine(MODEL, ...) or endpoint=vllmperf_session.endpoint(URL, ...)"

    def __init__(
        self,
        session: Lab,
        context: TestContext,
        in_run: InRun,
        check_gpu: Callable[[GpuRequirement | None], None],
        shared: Callable[[Measurement], None],
        require_test: Callable[[], object],
    ) -> None:
        super().__init__(session, context, in_run)
        self._check_gpu = check_gpu
        self._shared = shared
        self._require_test = require_test

    def gpu(
        self,
        name: str = "",
        *,
        min_vram: str | int | None = None,
        min_compute: str | None = None,
        count: int = 1,
        mig: bool | str | None = None,
    ) -> GpuRequirement:
        """A GPU for `measure`, with the arguments of `@pytest.mark.gpu`.

        Args:
            name: a regular expression that is searched in the GPU's name.
            min_vram: the least memory, such as "80GiB".
            min_compute: the least compute capability, such as "8.9".
            count: how many GPUs.
            mig: True for a MIG device, a name for one of that name, False for a whole GPU.

        Raises:
            SpecError: for a value that is not valid.
        """
        return GpuRequirement.create(name, min_vram=min_vram, min_compute=min_compute, count=count, mig=mig)

    def measure(
        self,
        workload: Workload,
        *,
        engine: EngineSpec | None = None,
        endpoint: EngineSpec | None = None,
        gpu: GpuRequirement | None = None,
        iterations: int | None = None,
        warmup: int | Literal["auto"] | None = None,
        device_pass: int | Literal["off"] | None = None,
        allow: str | Sequence[str] | None = None,
    ) -> Measurement:
        """Measure a workload once, for all tests that use the fixture which calls this.

        With `--vllmperf-against`, the engine is measured in turns with the same engine on another interpreter's vLLM.

        Args:
            workload: what to send.
            engine: the engine, made by `engine`.
            endpoint: a running server instead, made by `endpoint`.
            gpu: the GPU that it needs, made by `gpu`; where the machine has none, the tests are skipped.
            iterations: measured iterations; default from option or ini.
            warmup: warm-up iterations, which are discarded.
            device_pass: extra iterations in which the GPU is profiled; "off", 0 or False: none.
            allow: validity rules to turn off, such as "preemptions".

        Raises:
            SpecError: when no engine is named, or an argument is not valid.
            WorkloadError: when the workload does not fit the engine.
            EngineError: when the engine does not start, or fails on the way.
            NoGpuError: when no GPU meets `gpu`, and the run requires one.
            CheckFailed: when the reference interpreter cannot run the engine.
        """
        __tracebackhide__ = True
        check_workload("measure", workload)
        check_requirement("measure", gpu)
        engine = one_of("measure", engine, endpoint)
        settings = self._measure_settings(iterations, warmup, device_pass)
        own = call_settings(allow=allow).over(self._test.settings)
        if gpu is not None:
            self._check_gpu(gpu)
        take = Take(self._target(engine, gpu), workload, settings, own.allow or ())
        return self._taken(taking.in_turns(self._session, take, own.against) if own.against else take)

    def _taken(self, take: Take) -> Measurement:
        """A measurement, which belongs to the test in which it was made, and is shared with all."""
        __tracebackhide__ = True
        self._require_test()
        with self._where_supported():
            run = self._measured(take)
        self._shared(run)
        return run

    if not TYPE_CHECKING:  # a type checker knows the methods, and refuses what is none

        def __getattr__(self, name: str) -> NoReturn:
            """What a session has not (SpecError where a test has it, else AttributeError)."""
            if name in _OF_A_TEST:
                raise SpecError(f"{SESSION_FIXTURE} has no {name}(): {_OF_A_TEST[name]}")
            hint = "" if name.startswith("_") else did_you_mean(name, dir(self))
            raise AttributeError(f"{SESSION_FIXTURE} has no method {name!r}{hint}")
