"""Lets snippets of the documents run on the simulated engine: conftest.py of their folder is made of this module.

Everything but engines is real: markers, workloads, names of vLLM's arguments, calls and their results. What needs a
server is called with a workload that does not, or, where nothing but a server will do, has its arguments bound.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any
from unittest.mock import create_autospec

import pytest

from pytest_vllmperf import EngineSpec, Measurement, VllmPerf, VllmPerfSession, Workload
from pytest_vllmperf.engines.arguments import check_arguments
from pytest_vllmperf.engines.backends import BACKENDS
from pytest_vllmperf.engines.simulated import Script
from pytest_vllmperf.harness.engines import TestEngines
from pytest_vllmperf.harness.fitting import Fitting
from pytest_vllmperf.harness.serving import Serving
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.promises import promise
from pytest_vllmperf.records.overload import Overload

MEMORY, CACHE = 2**34, 2**26
SMALL = Workload.synthetic(requests=4, input_tokens=8, output_tokens=4)
UNNAMED = EngineSpec.create("vllmperf:tiny")
"""The engine of a test that leaves its marker out: a page shows it once."""
_SCRIPT = {one.name for one in fields(Script)} - {"quantization"}


def simulated(spec: EngineSpec) -> EngineSpec:
    """An engine that is simulated, with those of its arguments that a script knows; the others exist in vLLM."""
    if BACKENDS.of(spec).vllm_arguments and spec.backend == "offline":
        check_arguments(spec, "vllm")
    kept = {name: value for name, value in spec.args.items() if name in _SCRIPT}
    return EngineSpec.create(spec.model, backend="simulated", **{"memory_bytes": MEMORY, **kept})


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """There is no GPU here: a test that asks for one would be skipped, unseen."""
    for item in items:
        item.own_markers = [one for one in item.own_markers if one.name != "gpu"]


def pytest_configure(config: pytest.Config) -> None:
    """Put the simulated engine in the place of all others, until the run ends."""
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    target, fit, measure = TestEngines._target, Fitting.fit, VllmPerf.measure
    asked_gpu = VllmPerfSession.gpu

    def simulated_target(self: TestEngines, engine: EngineSpec | None, gpu: None = None) -> Target:
        given = engine or self._test.spec
        return target(self, simulated(given or UNNAMED))

    def simulated_fit(self: Fitting, engine: EngineSpec | None = None, **bounds: Any) -> Any:
        return fit(self, simulated(engine).with_args(kv_cache_memory_bytes=CACHE), **bounds) if engine else fit(self)

    def measured(self: VllmPerf, workload: Workload, **given: Any) -> Measurement:
        inspect.signature(measure).bind(self, workload, **given)
        assert isinstance(workload, Workload)
        assert workload.count > 0
        return measure(self, SMALL if workload.needs_server or workload.count > 1000 else workload, **given)

    def any_gpu(self: VllmPerfSession, *wanted: Any, **more: Any) -> None:
        asked_gpu(self, *wanted, **more)

    patch.setattr(TestEngines, "_target", simulated_target)
    patch.setattr(Fitting, "fit", simulated_fit)
    patch.setattr(VllmPerf, "measure", measured)
    patch.setattr(VllmPerfSession, "gpu", any_gpu)
    patch.setattr(Serving, "find_max_rate", _bound(Serving.find_max_rate, _found_rate))
    patch.setattr(Serving, "overload", _bound(Serving.overload, lambda self, given: create_autospec(Overload)))


def _bound(call: Callable[..., Any], instead: Callable[[Any, dict[str, Any]], Any]) -> Callable[..., Any]:
    """A method that takes what the real one takes, and returns something of the same kind."""

    @functools.wraps(call)
    def bound(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(call).bind(self, *args, **kwargs)
        given.apply_defaults()
        told = {name: given.arguments[name] for name in ("ttft", "tpot", "e2e")}
        promise(told["ttft"], told["tpot"], told["e2e"], given.arguments.get("goodput", 0.99), streamed=True)
        return instead(self, given.arguments)

    return bound


def _found_rate(self: VllmPerf, given: dict[str, Any]) -> Measurement:
    return self.measure(given["workload"], engine=given["engine"] or given["endpoint"])
