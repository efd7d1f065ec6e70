"""Studies: what people ask first, answered by measuring. Armed with `--vllmperf`, as any performance test.

On a GPU they run an 8B model, elsewhere the tiny one; `VLLMPERF_STUDY_SHAPE` chooses another.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_vllmperf import Workload, gpu


@dataclass(frozen=True)
class Study:
    """What a study runs on this machine.

    Attributes:
        shape: of the model.
        on_gpu: whether there is a GPU.
    """

    shape: str
    on_gpu: bool

    @property
    def plain(self) -> str:
        """The dtype of the full weights: what the GPU's kernels like, and what any CPU computes in."""
        return "float16" if self.on_gpu else "float32"

    def vllm(self, quantization: str, dtype: str) -> dict[str, Any]:
        """Model and arguments of a vLLM engine."""
        model = f"vllmperf:{self.shape}" + ("" if quantization == "none" else f"-{quantization}")
        if not self.on_gpu:
            return {
                "model": model,
                "dtype": dtype,
                "enforce_eager": True,
                "max_model_len": 512,
                "kv_cache_memory_bytes": 64 * 2**20,
            }
        graphs = {"cudagraph_capture_sizes": [1, 2, 4, 8, 64, 256, 512]}
        return {"model": model, "dtype": dtype, "max_model_len": 1024, "compilation_config": graphs}

    def reference(self, quantization: str | None, dtype: str, batch_size: int) -> dict[str, Any]:
        """Model and arguments of a transformers engine."""
        asked = {} if quantization is None else {"quantization": quantization}
        return {
            "model": f"vllmperf:{self.shape}",
            "backend": "transformers",
            "dtype": dtype,
            "batch_size": batch_size,
            **asked,
        }

    def batch(self) -> Workload:
        """Seven prompts of 256 tokens each, at once, as in the comparisons that are published."""
        output = 256 if self.on_gpu else 32
        return Workload.synthetic(requests=7, input_tokens=64, output_tokens=output)

    def classification(self) -> Workload:
        """Short items with short answers: 512 of the 30,000 that a day brings; fewer on a CPU."""
        return Workload.synthetic(requests=512 if self.on_gpu else 48, input_tokens=96, output_tokens=8)


@pytest.fixture(scope="session")
def study() -> Study:
    on_gpu = bool(gpu.devices())
    return Study(os.environ.get("VLLMPERF_STUDY_SHAPE") or ("llama-8b" if on_gpu else "tiny"), on_gpu)
