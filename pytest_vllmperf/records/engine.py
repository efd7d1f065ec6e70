"""What an engine is asked, and what it tells of itself and of what it did. Times in seconds, sizes in bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_vllmperf.workload import CLOSED, Arrivals


@dataclass(frozen=True)
class WeightLayers:
    """Layers that hold their weights in one way.

    Attributes:
        method: the class that does it, with its scheme and kernel where there are.
        quantized: whether it is any but the plain one.
        layers: how many.
        weights: numbers that they stand for, on one rank; None where unknown.
        held_bytes: what these take, scales and zero points included; None where a kernel has packed them away.
    """

    method: str
    quantized: bool
    layers: int
    weights: int | None
    held_bytes: int | None


@dataclass(frozen=True)
class WeightFacts:
    """What a model's weights were to be, and what they are.

    Attributes:
        declared: the `quantization_config` of the model's `config.json`; empty for none.
        asked: the engine argument `quantization`.
        resolved: what the library made of both; None for no quantization.
        dummy: whether the weights were made up while loading.
        loaded_bytes: what loading them took, as the library counts it; None where it does not.
        layers: how the layers that can be quantized hold their weights; empty where unknown.
        stored_bytes: bytes of the checkpoint's tensors in the dtype that they are loaded as; None where it does not
            lie here.
        idle_bytes: what a step does not read whole: the input embedding.
    """

    declared: Mapping[str, Any]
    asked: str | None
    resolved: str | None
    dummy: bool
    loaded_bytes: int | None
    layers: tuple[WeightLayers, ...]
    stored_bytes: int | None
    idle_bytes: int = 0

    @property
    def weight_bytes(self) -> int | None:
        """What the weights take once loaded; None where that cannot be told.

        vLLM's CPU build does not count; there it is what the checkpoint stores, unless something else was loaded.
        """
        in_flight = self.asked is not None and not self.declared
        return self.loaded_bytes or (None if self.dummy or in_flight else self.stored_bytes)


@dataclass(frozen=True)
class MemoryFacts:
    """Where an engine's device memory went, as it knows itself; all ranks together, None for what it did not tell.

    Attributes:
        peak_activation: what vLLM's profiling run took at most beside the weights.
        non_torch: what libraries took outside of torch since vLLM began to count.
        cuda_graphs: what torch reserved for CUDA graphs.
        torch_reserved: what torch holds, in use or not.
        at_start: what was in use outside of torch when vLLM began to count, also by other processes: after CUDA's
            context was made and the workers were connected.
    """

    peak_activation: int | None
    non_torch: int | None
    cuda_graphs: int | None
    torch_reserved: int | None
    at_start: int | None = None


@dataclass(frozen=True)
class EngineFacts:
    """What an engine tells of itself once it is up.

    Attributes:
        device: `cuda` or `cpu`; `simulated` for an engine that runs on neither.
        device_name: the accelerator's name; None on a CPU.
        max_model_len: the longest prompt plus output, in tokens.
        vocab_size: of the tokenizer, or the model where it has none.
        special_token_ids: ids that synthetic prompts avoid.
        prefix_caching: whether the engine keeps prompts' KV blocks for later requests.
        load_time: seconds by part: `import`, `total`, and `weights` and `rest` where vLLM tells.
        kv_cache_tokens: capacity of the KV cache in tokens; None where unknown.
        kv_cache_bytes: its size; None where unknown.
        weights: how the weights are held; None where unknown.
        kv_blocks: how many blocks it has; None where unknown.
        kv_cache_groups: in how many groups layers share these blocks, more than one where layers differ; None where
            unknown.
        max_concurrency: how many requests of max_model_len it holds at once; None where unknown.
        expected_kv_bytes_per_token: by the model's configuration; None for a model whose layers differ.
        memory: where the device's memory went; None on a CPU, or where unknown.
        versions: what ran: `vllm`, `torch`, `python`.
        resolved: what vLLM made of the arguments: `dtype`, `quantization`, `max_num_seqs` and so on.
        unmeasured: metric -> why this machine does not let it be measured.
    """

    device: str
    device_name: str | None
    max_model_len: int
    vocab_size: int
    special_token_ids: tuple[int, ...]
    prefix_caching: bool
    load_time: Mapping[str, float]
    kv_cache_tokens: int | None
    kv_cache_bytes: int | None
    weights: WeightFacts | None = None
    kv_blocks: int | None = None
    kv_cache_groups: int | None = None
    max_concurrency: float | None = None
    expected_kv_bytes_per_token: int | None = None
    memory: MemoryFacts | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    resolved: Mapping[str, Any] = field(default_factory=dict)
    unmeasured: Mapping[str, str] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on GPUs."""
        return self.device == "cuda"

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on the processor."""
        return self.device == "cpu"

    @property
    def kv_bytes_per_token(self) -> float | None:
        """KV cache bytes over its capacity in tokens; None where either is unknown.

        Also with several groups of layers: how much a token takes there depends on the length of its request.
        """
        if not self.kv_cache_bytes or not self.kv_cache_tokens or (self.kv_cache_groups or 0) > 1:
            return None
        return self.kv_cache_bytes / self.kv_cache_tokens


Progress = Callable[[str, float], None]
"""Called now and then while an engine works: what it is doing, and for how many seconds."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds an engine is given.

    Attributes:
        start: from the start of its process until it can take requests.
        operation: for one iteration, or any other single operation.
        shutdown: to stop by itself; then its processes are ended.
    """

    start: float = 900.0
    operation: float = 600.0
    shutdown: float = 10.0


@dataclass(frozen=True)
class Sampling:
    """How an iteration is sent.

    Attributes:
        concurrency: requests in flight at once; None for all of them.
        ignore_eos: generate on past the end token.
        temperature: 0 is greedy.
        seed: of sampling, and of a schedule's random gaps.
        arrivals: when requests are due; of an engine that is driven over HTTP alone, as all below.
        stream: whether answers come token by token.
        keep_alive: whether connections are used again.
        send_for: requests due later than these seconds are not sent; None for all.
        client_processes: of the load generator; None for as many as are needed.
    """

    concurrency: int | None = None
    ignore_eos: bool = True
    temperature: float = 0.0
    seed: int = 0
    arrivals: Arrivals = CLOSED
    stream: bool = True
    keep_alive: bool = True
    send_for: float | None = None
    client_processes: int | None = None


@dataclass(frozen=True)
class Continuations:
    """What an engine made of some requests, greedily.

    Attributes:
        prompts: token ids that it saw, for each request.
        outputs: token ids that it made.
    """

    prompts: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class TokenScores:
    """How an engine sees one sequence of tokens, from its second token on.

    Attributes:
        logprobs: natural logarithm of the probability of each token after those before it.
        top: the token that it holds most probable in each place.
    """

    logprobs: tuple[float, ...]
    top: tuple[int, ...]


@dataclass(frozen=True)
class RenderedChat:
    """A chat as a tokenizer renders it.

    Attributes:
        ids: token ids, with the turn opened that the model is to fill.
        tokens: the same as text.
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
