"""Where a device's memory went: what the engine knows of itself, held against what NVML sees. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_vllmperf.records.engine import EngineFacts
from pytest_vllmperf.stats.known import sum_of_all


@dataclass(frozen=True)
class DeviceMemory:
    """What NVML sees, all of an engine's devices together.

    Attributes:
        total: bytes that there are.
        used: by all processes.
        engine: by the engine's processes; None where processes are hidden.
        free: for anybody; what the driver reserves is neither used nor free.
    """

    total: int
    used: int
    engine: int | None
    free: int


@dataclass(frozen=True)
class VramLedger:
    """An engine's memory by purpose, in bytes, all devices together. What was not told is None.

    Attributes:
        weights: as loaded.
        peak_activation: what a step takes at most beside them, as vLLM profiled it.
        non_torch: what libraries took outside of torch since vLLM began to count.
        cuda_graphs: pools of CUDA graphs.
        kv_cache: the pool of KV blocks.
        kv_blocks: how many blocks.
        kv_tokens: how many tokens they hold.
        max_concurrency: how many requests of max_model_len at once.
        device: what NVML sees; None on a CPU.
        at_start: what was in use when vLLM began to count, also by other processes.
    """

    weights: int | None
    peak_activation: int | None
    non_torch: int | None
    cuda_graphs: int | None
    kv_cache: int | None
    kv_blocks: int | None
    kv_tokens: int | None
    max_concurrency: float | None
    device: DeviceMemory | None = None
    at_start: int | None = None

    @classmethod
    def of(cls, facts: EngineFacts, device: DeviceMemory | None) -> VramLedger:
        """What an engine told of itself, beside what NVML sees."""
        memory = facts.memory
        return cls(
            weights=facts.weights.weight_bytes if facts.weights is not None else None,
            peak_activation=memory.peak_activation if memory is not None else None,
            non_torch=memory.non_torch if memory is not None else None,
            cuda_graphs=memory.cuda_graphs if memory is not None else None,
            kv_cache=facts.kv_cache_bytes,
            kv_blocks=facts.kv_blocks,
            kv_tokens=facts.kv_cache_tokens,
            max_concurrency=facts.max_concurrency,
            device=device,
            at_start=memory.at_start if memory is not None else None,
        )

    @property
    def before(self) -> int | None:
        """What the engine took before vLLM began to count: CUDA's context and the buffers of the communication.

        Other processes are taken to hold as much as they did then. None where NVML hides what they hold.
        """
        if self.at_start is None or self.others is None:
            return None
        return max(0, self.at_start - self.others)

    @property
    def accounted(self) -> int | None:
        """All purposes together; None where one of them is unknown. What came before vLLM's count may be."""
        parts = (self.weights, self.peak_activation, self.non_torch, self.cuda_graphs, self.kv_cache)
        return sum_of_all((*parts, self.before or 0))

    @property
    def difference(self) -> int | None:
        """What NVML sees of the engine beyond what is accounted for; negative where it sees less."""
        accounted, engine = self.accounted, None if self.device is None else self.device.engine
        return None if accounted is None or engine is None else engine - accounted

    @property
    def others(self) -> int | None:
        """What other processes hold, such as a desktop."""
        if self.device is None or self.device.engine is None:
            return None
        return max(0, self.device.used - self.device.engine)

    @property
    def headroom(self) -> int | None:
        """What nobody holds."""
        return None if self.device is None else self.device.free
