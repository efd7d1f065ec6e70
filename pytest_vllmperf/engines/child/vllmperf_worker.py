"""Worker extension: what only the process that runs the model knows of it. Loaded by vLLM into each worker."""

from __future__ import annotations

import sys
from typing import Any

import vllmperf_compilation
import vllmperf_cpu_build
import vllmperf_device_pass
import vllmperf_weights

if vllmperf_cpu_build.cpu_build_version() is not None:
    vllmperf_cpu_build.initialise_amx()


class Probe:
    """Methods that vLLM mixes into its worker class and `collective_rpc` calls by name."""

    model_runner: Any

    def vllmperf_kv_cache(self) -> dict[str, int | None]:
        """This worker's KV cache: its bytes, and in how many groups layers share its blocks; None where unknown.

        A block serves one group at a time, so that a token takes a block's worth in each of them.
        """
        config = getattr(self.model_runner, "kv_cache_config", None)
        groups = getattr(config, "kv_cache_groups", None)
        return {"bytes": _kv_cache_bytes(self.model_runner), "groups": None if groups is None else len(groups)}

    def vllmperf_weights(self) -> dict[str, Any]:
        """How this worker holds the model's weights; the bytes that loading took are vLLM's own count, on CUDA."""
        runner = self.model_runner
        return {
            "loaded_bytes": getattr(runner, "model_memory_usage", None) or None,
            "layers": vllmperf_weights.vllm_layers(runner.get_model()),
            "idle_bytes": vllmperf_weights.input_embedding_bytes(runner.get_model()),
        }

    def vllmperf_memory(self) -> dict[str, int | None] | None:
        """Where this worker's device memory went, in bytes; None where it runs on a CPU.

        What vLLM profiled while it made room for the KV cache is absent where it was told the cache's size.
        """
        torch: Any = sys.modules["torch"]
        if not torch.cuda.is_initialized():
            return None
        weights = getattr(self.model_runner, "model_memory_usage", None)
        consumed = getattr(self, "total_consumed", None)  # since vLLM 0.31: weights and non-torch together
        other = getattr(self, "non_torch_memory", None)  # before
        if other is None and consumed is not None and weights is not None:
            other = consumed - weights
        return {
            "peak_activation": _whole(_peak_activation(self)),
            "non_torch": _whole(other),
            "at_start": _whole(getattr(getattr(self, "init_snapshot", None), "non_torch_memory", None)),
            "cuda_graphs": _private_pools(torch),
            "torch_reserved": int(torch.cuda.memory_reserved()),
        }

    def vllmperf_profile_start(self, trace: str = "") -> str:
        """Record from now on what the GPU of this worker does. Returns why that cannot be done; empty where it is.

        Args:
            trace: where the first rank keeps a Chrome trace; empty for nowhere.
        """
        torch: Any = sys.modules["torch"]
        if not torch.cuda.is_initialized():
            return vllmperf_device_pass.ON_CPU
        worker: Any = self
        recorder = self.__dict__.setdefault("vllmperf_recorder", vllmperf_device_pass.Recorder())
        try:
            recorder.start(trace if getattr(worker, "rank", 0) == 0 else "")
        except vllmperf_device_pass.NotRecordedError as error:
            return str(error)
        worker.execute_model = vllmperf_device_pass.hooked(type(worker).execute_model.__get__(worker), recorder)
        return ""

    def vllmperf_profile_stop(self) -> dict[str, Any]:
        """Stop recording. Returns what the GPU did, see `vllmperf_device_pass.Tally`, or `problem` in words."""
        self.__dict__.pop("execute_model", None)  # the class's own comes to light again
        recorder = self.__dict__.get("vllmperf_recorder")
        return vllmperf_device_pass.stopped(recorder)

    def vllmperf_watch(self) -> None:
        """Count from now on what is compiled."""
        self.vllmperf_compilations = vllmperf_compilation.Counter()

    def vllmperf_after_run(self) -> dict[str, int | None]:
        """What happened on this worker since it was last asked: kernels compiled, and torch's peak without KV cache.

        Torch's peak is in bytes; None on a CPU, and where it may stem from before there was a KV cache.
        """
        torch: Any = sys.modules["torch"]
        peak = _peak_without_kv_cache(torch, self) if torch.cuda.is_initialized() else None
        return {"kernels_compiled": self.vllmperf_compilations.take(), "torch_peak_bytes": peak}


def _kv_cache_bytes(runner: Any) -> int:
    """Bytes of the KV cache tensors; tensors that share memory count once."""
    storages = {}
    for tensor in _tensors(runner.kv_caches):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _peak_without_kv_cache(torch: Any, worker: Any) -> int | None:
    """The most that torch had allocated, less the KV cache, in bytes; None unless the cache was there by then.

    vLLM profiles a step before it makes the KV cache. A smaller cache than that step took may leave the maximum there,
    and what is left of it then moves with the size of the cache.
    """
    profiled, kv_cache = _peak_activation(worker), _kv_cache_bytes(worker.model_runner)
    if profiled is None or kv_cache < profiled:
        return None
    return int(torch.cuda.max_memory_allocated()) - kv_cache


def _peak_activation(worker: Any) -> float | None:
    """What a step takes at most; since vLLM 0.31 its count holds the estimate for CUDA graphs that it goes by."""
    peak: float | None = getattr(worker, "peak_activation_memory", None)
    envs: Any = sys.modules.get("vllm.envs")
    applied = getattr(envs, "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS", False)
    if peak is None or not hasattr(worker, "total_consumed") or not applied:
        return peak
    return peak - float(getattr(worker, "cudagraph_memory_estimate", 0))


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _private_pools(torch: Any) -> int | None:
    """Bytes that torch reserved for CUDA graphs: the pools that are not the common one.

    None in sleep mode, which keeps weights and KV cache in pools of their own too.
    """
    try:
        segments = torch.cuda.memory_snapshot()
    except (RuntimeError, AttributeError):
        return None
    allocator: Any = sys.modules.get("vllm.device_allocator.cumem")
    if getattr(getattr(allocator, "CuMemAllocator", None), "instance", None) is not None:
        return None
    return sum(int(one["total_size"]) for one in segments if tuple(one.get("segment_pool_id", (0, 0))) != (0, 0))


def _tensors(value: Any) -> list[Any]:
    """All tensors in nested lists, as some layers keep several."""
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _tensors(item)]
    return [value] if hasattr(value, "untyped_storage") else []
