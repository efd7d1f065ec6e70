"""What vLLM's worker tells from inside: its memory, what was compiled, how high it got. torch and Triton are faked."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pytest_vllmperf.engines import forkserver

FOLDER = Path(forkserver.__file__).parent / "child"
SCRIPTS = ("vllmperf_cpu_build", "vllmperf_compilation", "vllmperf_weights", "vllmperf_worker")
MIB = 2**20


def module(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: Any) -> None:
    """Put a module in place of one that may be installed here."""
    made = ModuleType(name)
    made.__dict__.update(attributes)
    monkeypatch.setitem(sys.modules, name, made)


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    for name in ("torch", "torch._dynamo.utils", "triton", "vllm.envs", "vllm.device_allocator.cumem"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(importlib.import_module("vllmperf_cpu_build"), "cpu_build_version", lambda: None)
    yield {name: importlib.import_module(name) for name in SCRIPTS}
    for name in SCRIPTS:
        sys.modules.pop(name, None)


class Cuda:
    """torch.cuda, as far as it is asked."""

    def __init__(self, *segments: dict[str, Any], used: bool = True) -> None:
        self.segments, self.used, self.peak = segments, used, 0

    def is_initialized(self) -> bool:
        return self.used

    def memory_reserved(self) -> int:
        return 700 * MIB

    def max_memory_allocated(self) -> int:
        return self.peak

    def memory_snapshot(self) -> tuple[dict[str, Any], ...]:
        return self.segments


def torch(monkeypatch: pytest.MonkeyPatch, *segments: dict[str, Any], used: bool = True) -> Cuda:
    cuda = Cuda(*segments, used=used)
    module(monkeypatch, "torch", cuda=cuda)
    return cuda


class Tensor:
    """A tensor of so many bytes, in a storage of its own unless it is given another's."""

    def __init__(self, size: int, storage: Tensor | None = None) -> None:
        self.size, self.storage = size, storage or self

    def untyped_storage(self) -> Any:
        return SimpleNamespace(data_ptr=lambda: id(self.storage), nbytes=lambda: self.storage.size)


def worker(scripts: dict[str, Any], *, kv_caches: Any = (), weights: int | None = 100 * MIB, **told: Any) -> Any:
    """A worker of vLLM's with our methods mixed in."""
    runner = SimpleNamespace(kv_caches=kv_caches, get_model=lambda: SimpleNamespace(modules=lambda: iter(())))
    if weights is not None:
        runner.model_memory_usage = weights
    made = type("Worker", (scripts["vllmperf_worker"].Probe,), {})()
    made.__dict__.update(model_runner=runner, **told)
    return made


SINCE_31 = {
    "total_consumed": 130 * MIB,
    "peak_activation_memory": 50 * MIB,
    "cudagraph_memory_estimate": 20 * MIB,
    "init_snapshot": SimpleNamespace(non_torch_memory=900.0 * MIB),
}
BEFORE_31 = {
    "non_torch_memory": 30.0 * MIB,
    "peak_activation_memory": 50.0 * MIB,
    "cudagraph_memory_estimate": 20 * MIB,
}


@pytest.mark.parametrize(
    ("told", "peak", "other"),
    [
        (SINCE_31, 30 * MIB, 30 * MIB),  # its peak holds the estimate for CUDA graphs, which are told apart
        (BEFORE_31, 50 * MIB, 30 * MIB),
        ({**SINCE_31, "cudagraph_memory_estimate": 0}, 50 * MIB, 30 * MIB),
        ({}, None, None),  # it was told the size of its KV cache
    ],
)
def test_where_a_workers_memory_went(
    scripts: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    told: dict[str, Any],
    peak: int | None,
    other: int | None,
) -> None:
    torch(monkeypatch, {"total_size": 40 * MIB, "segment_pool_id": (1, 0)})
    module(monkeypatch, "vllm.envs", VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=True)
    found = worker(scripts, **told).vllmperf_memory()
    assert found == {
        "at_start": 900 * MIB if "init_snapshot" in told else None,
        "peak_activation": peak,
        "non_torch": other,
        "cuda_graphs": 40 * MIB,
        "torch_reserved": 700 * MIB,
    }
    assert {type(value) for value in found.values()} <= {int, type(None)}  # what JSON keeps whole


@pytest.mark.parametrize("envs", [None, {}, {"VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS": False}])
def test_an_estimate_that_was_not_applied_is_not_taken_off(
    scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, envs: dict[str, bool] | None
) -> None:
    torch(monkeypatch)
    if envs is not None:
        module(monkeypatch, "vllm.envs", **envs)
    assert worker(scripts, **SINCE_31).vllmperf_memory()["peak_activation"] == 50 * MIB


def test_what_is_not_torchs_is_unknown_without_the_weights(
    scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch(monkeypatch)
    assert worker(scripts, weights=None, **SINCE_31).vllmperf_memory()["non_torch"] is None


def test_a_processor_has_no_device_memory(scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    torch(monkeypatch, used=False)
    assert worker(scripts, **SINCE_31).vllmperf_memory() is None


COMMON = {"total_size": 500 * MIB, "segment_pool_id": (0, 0)}


@pytest.mark.parametrize(
    ("segments", "size"),
    [
        ((), 0),
        ((COMMON, {"total_size": 9 * MIB}), 0),  # an older torch tells of no pools
        ((COMMON, {"total_size": 2 * MIB, "segment_pool_id": [0, 1]}), 2 * MIB),
        (({"total_size": 2, "segment_pool_id": (0, 3)}, {"total_size": 3, "segment_pool_id": (4, 0)}, COMMON), 5),
    ],
)
def test_cuda_graphs_have_pools_of_their_own(
    scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, segments: tuple[dict[str, Any], ...], size: int
) -> None:
    torch(monkeypatch, *segments)
    assert worker(scripts).vllmperf_memory()["cuda_graphs"] == size


@pytest.mark.parametrize(("instance", "size"), [(None, 7), ("in use", None)])
def test_pools_cannot_be_told_apart_in_sleep_mode(
    scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, instance: str | None, size: int | None
) -> None:
    torch(monkeypatch, {"total_size": 7, "segment_pool_id": (0, 1)})
    module(monkeypatch, "vllm.device_allocator.cumem", CuMemAllocator=SimpleNamespace(instance=instance))
    assert worker(scripts).vllmperf_memory()["cuda_graphs"] == size


@pytest.mark.parametrize("error", [RuntimeError, AttributeError])
def test_a_torch_that_shows_no_segments_is_no_obstacle(
    scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def failing() -> None:
        raise error("not built with it")

    cuda = torch(monkeypatch)
    monkeypatch.setattr(cuda, "memory_snapshot", failing)
    assert worker(scripts).vllmperf_memory()["cuda_graphs"] is None


def test_tensors_of_one_storage_are_one_cache(scripts: dict[str, Any]) -> None:
    whole = Tensor(64)
    caches = [whole, [Tensor(32, whole), (Tensor(8),)], None, "no tensor"]
    assert worker(scripts, kv_caches=caches).vllmperf_kv_cache() == {"bytes": 72, "groups": None}


@pytest.mark.parametrize(
    ("config", "groups"),
    [
        (SimpleNamespace(kv_cache_groups=["full"]), 1),
        (SimpleNamespace(kv_cache_groups=["full", "sliding"]), 2),
        (SimpleNamespace(kv_cache_groups=[]), 0),  # a model without attention
        (SimpleNamespace(), None),
        (None, None),
    ],
)
def test_groups_of_layers_are_counted_as_vllm_made_them(scripts: dict[str, Any], config: Any, groups: int) -> None:
    one = worker(scripts)
    one.model_runner.kv_cache_config = config
    assert one.vllmperf_kv_cache() == {"bytes": 0, "groups": groups}


@pytest.mark.parametrize(("usage", "told"), [(100 * MIB, 100 * MIB), (0, None), (None, None)])
def test_weights_are_told_as_loading_counted_them(scripts: dict[str, Any], usage: int | None, told: int | None) -> None:
    assert worker(scripts, weights=usage).vllmperf_weights() == {"loaded_bytes": told, "layers": [], "idle_bytes": 0}


def triton(monkeypatch: pytest.MonkeyPatch, before: Any = None) -> SimpleNamespace:
    runtime = SimpleNamespace(jit_post_compile_hook=before)
    module(monkeypatch, "triton", knobs=SimpleNamespace(runtime=runtime))
    return runtime


def test_a_run_tells_its_compilations_and_torchs_peak_without_the_kv_cache(
    scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda, runtime = torch(monkeypatch), triton(monkeypatch)
    one = worker(scripts, kv_caches=[Tensor(600)], peak_activation_memory=600)
    one.vllmperf_watch()
    runtime.jit_post_compile_hook(fn="kernel")
    cuda.peak = 1000
    assert one.vllmperf_after_run() == {"kernels_compiled": 1, "torch_peak_bytes": 400}
    assert one.vllmperf_after_run() == {"kernels_compiled": 0, "torch_peak_bytes": 400}


@pytest.mark.parametrize(
    ("told", "peak"),
    [
        (BEFORE_31, 40),
        ({**BEFORE_31, "peak_activation_memory": 60.0 * MIB}, 40),
        ({**BEFORE_31, "peak_activation_memory": 61.0 * MIB}, None),
        (SINCE_31, 40),
        ({**SINCE_31, "peak_activation_memory": 80 * MIB}, 40),  # of which 20 MiB are the estimate for CUDA graphs
        ({**SINCE_31, "peak_activation_memory": 81 * MIB}, None),
        ({}, None),  # it was told the size of its KV cache
    ],
)
def test_a_peak_that_may_be_older_than_the_kv_cache_is_none(
    scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, told: dict[str, Any], peak: int | None
) -> None:
    torch(monkeypatch).peak = 100 * MIB
    module(monkeypatch, "vllm.envs", VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=True)
    one = worker(scripts, kv_caches=[Tensor(60 * MIB)], **told)
    one.vllmperf_watch()
    assert one.vllmperf_after_run()["torch_peak_bytes"] == (None if peak is None else peak * MIB)


def test_a_processor_has_no_peak(scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    torch(monkeypatch, used=False)
    one = worker(scripts, kv_caches=[Tensor(600)])
    one.vllmperf_watch()
    assert one.vllmperf_after_run() == {"kernels_compiled": 0, "torch_peak_bytes": None}


def test_kernels_are_counted_from_then_on(scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = triton(monkeypatch)
    counter = scripts["vllmperf_compilation"].Counter()
    assert counter.take() == 0
    assert [runtime.jit_post_compile_hook(1, key="a"), runtime.jit_post_compile_hook()] == [None, None]
    assert [counter.take(), counter.take()] == [2, 0]


def test_the_hook_that_was_there_before_is_called_too(scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []

    def before(*arguments: Any, **keywords: Any) -> str:
        called.append((arguments, keywords))
        return "its answer"

    runtime = triton(monkeypatch, before)
    counter = scripts["vllmperf_compilation"].Counter()
    assert runtime.jit_post_compile_hook(1, key="a") == "its answer"
    assert called == [((1,), {"key": "a"})]
    assert counter.take() == 1


@pytest.mark.parametrize("knobs", [{}, {"knobs": SimpleNamespace()}])
def test_a_triton_without_the_hook_is_left_alone(
    scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, knobs: dict[str, Any]
) -> None:
    module(monkeypatch, "triton", **knobs)
    assert scripts["vllmperf_compilation"].Counter().take() == 0


def test_graphs_are_counted_from_then_on(scripts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stats = {"unique_graphs": 4}
    module(monkeypatch, "torch._dynamo.utils", counters={"stats": stats})
    runtime, counter = triton(monkeypatch), scripts["vllmperf_compilation"].Counter()
    told = []
    for graphs in (4, 6, 6, 0, 1):  # torch may reset its own counters
        stats["unique_graphs"] = graphs
        told.append(counter.take())
    assert told == [0, 2, 0, 0, 1]
    stats["unique_graphs"] = 2
    runtime.jit_post_compile_hook()
    assert counter.take() == 2  # a kernel and a graph


def test_without_triton_and_torch_nothing_is_compiled(scripts: dict[str, Any]) -> None:
    assert scripts["vllmperf_compilation"].Counter().take() == 0
    assert scripts["vllmperf_compilation"].graphs() == 0
