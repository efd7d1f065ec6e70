"""Slowdowns of known cause: engine arguments that change a GPU's kernels by a few per cent, by name.

Looked up in vLLM 0.26.0 and 0.32.0. Which of them cost how much on which card is for a study to show; some cost
nothing. `quantization="awq"` is no such change: both versions choose the kernels of such a model by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pytest_vllmperf.errors import SpecError

VARIABLE: Final = "VLLMPERF_STUDY_CHANGE"
ANY: Final = "any"
HOST_BOUND: Final = "test_host_bound"
GPU_BOUND: Final = "test_gpu_bound"
_COMPILATION: Final = "compilation_config"


def graphs(*sizes: int) -> dict[str, Any]:
    """The argument that captures CUDA graphs of these batch sizes."""
    return {_COMPILATION: {"cudagraph_capture_sizes": list(sizes)}}


CHANGES: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    # Attention reads the KV cache in larger blocks than 16 tokens.
    "block_size": {ANY: {"block_size": 32}},
    "block_size_64": {ANY: {"block_size": 64}},
    # Another implementation of attention, an older one, and one that never splits a sequence in a CUDA graph.
    "attention": {ANY: {"attention_backend": "TRITON_ATTN"}},
    "attention_2": {ANY: {"attention_config": {"flash_attn_version": 2}}},
    "attention_splits": {ANY: {"attention_config": {"flash_attn_max_num_splits_for_cuda_graph": 1}}},
    # Attention is launched between CUDA graphs instead of within one.
    "piecewise_graphs": {ANY: {_COMPILATION: {"cudagraph_mode": "PIECEWISE"}}},
    # A full batch is padded to the next size that was captured: of 64 to 72, of 24 to 28.
    "graph_sizes": {HOST_BOUND: graphs(1, 2, 4, 8, 16, 32, 72), GPU_BOUND: graphs(1, 2, 4, 8, 16, 28)},
    # A full batch is launched kernel by kernel: the host's time, and hardly the GPU's.
    "fewer_graphs": {HOST_BOUND: graphs(1, 2, 4, 8, 16, 32), GPU_BOUND: graphs(1, 2, 4, 8, 16)},
    # Prompts are computed in more steps, each of which also decodes the requests that are ready.
    "prefill_chunks": {HOST_BOUND: {"max_num_batched_tokens": 2048}, GPU_BOUND: {"max_num_batched_tokens": 1024}},
    # vLLM's own kernels instead of those that torch.compile makes.
    "custom_activation": {ANY: {_COMPILATION: {"custom_ops": ["+silu_and_mul"]}}},
    "custom_rope": {ANY: {_COMPILATION: {"custom_ops": ["+rotary_embedding"]}}},
    # The same kernels for the other type of 16 bits.
    "dtype": {HOST_BOUND: {"dtype": "float16"}, GPU_BOUND: {"dtype": "bfloat16"}},
}
"""By name, then by the test that it is for: other engine arguments."""


def changed(arguments: Mapping[str, Any], name: str, test: str) -> dict[str, Any]:
    """A test's engine arguments with the change of that name; as they are without a name.

    What a change says of the compilation is added to what the test says of it.

    Args:
        arguments: the test's.
        name: of the change; empty for none.
        test: `HOST_BOUND` or `GPU_BOUND`.

    Raises:
        SpecError: for a name that does not exist.
    """
    if name and name not in CHANGES:
        raise SpecError(f"{VARIABLE}={name}: there is no such change; choose one of {', '.join(sorted(CHANGES))}")
    by_test = CHANGES[name] if name else {}
    change = by_test.get(test) or by_test.get(ANY, {})
    compilation = {**arguments.get(_COMPILATION, {}), **change.get(_COMPILATION, {})}
    return {**arguments, **change, **({_COMPILATION: compilation} if compilation else {})}
