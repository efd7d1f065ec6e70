"""Worker extension: what only the process that runs the model knows of it. Loaded by vLLM into each worker."""

from __future__ import annotations

from typing import Any

import vllmperf_cpu_build
import vllmperf_weights

if vllmperf_cpu_build.cpu_build_version() is not None:
    vllmperf_cpu_build.initialise_amx()


class Probe:
    """Methods that vLLM mixes into its worker class and `collective_rpc` calls by name."""

    model_runner: Any

    def vllmperf_kv_cache_bytes(self) -> int:
        """Bytes of the KV cache tensors on this worker; tensors that share memory count once."""
        storages = {}
        for tensor in _tensors(self.model_runner.kv_caches):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return sum(storages.values())

    def vllmperf_weights(self) -> dict[str, Any]:
        """How this worker holds the model's weights; the bytes that loading took are vLLM's own count, on CUDA."""
        runner = self.model_runner
        return {
            "loaded_bytes": getattr(runner, "model_memory_usage", None) or None,
            "layers": vllmperf_weights.vllm_layers(runner.get_model()),
        }


def _tensors(value: Any) -> list[Any]:
    """All tensors in nested lists, as some layers keep several."""
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _tensors(item)]
    return [value] if hasattr(value, "untyped_storage") else []
