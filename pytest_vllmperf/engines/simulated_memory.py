"""The memory of a simulated engine: how large its KV cache is, and when it has none, or too much. Pure."""

from __future__ import annotations

from dataclasses import dataclass

KV_BYTES_PER_TOKEN = 1024


@dataclass(frozen=True)
class SimulatedMemory:
    """What a script says of memory.

    Attributes:
        total_bytes: of its device; 0 for no limit.
        others_bytes: of them, what other processes hold.
        weight_bytes: what its weights take.
        share: of all memory that weights and KV cache take; None where the cache's size is said otherwise.
        cache_bytes: the KV cache's size; None where it is said otherwise.
    """

    total_bytes: int
    others_bytes: int
    weight_bytes: int
    share: float | None
    cache_bytes: int | None

    @property
    def kv_bytes(self) -> int | None:
        """The KV cache's size as asked for; None where nothing is said of it."""
        if self.cache_bytes is not None:
            return self.cache_bytes
        return None if self.share is None else round(self.share * self.total_bytes) - self.weight_bytes

    def refusal(self, max_model_len: int) -> str:
        """Why the engine does not start, in vLLM's manner; empty where it does."""
        needed, held = max_model_len * KV_BYTES_PER_TOKEN, self.kv_bytes
        if held is None or held >= needed:
            return ""
        return (
            f"one request of {max_model_len} tokens needs {needed} bytes of KV cache, which is larger than the "
            f"available KV cache memory ({held}); try increasing gpu_memory_utilization or decreasing max_model_len"
        )

    @property
    def exhausted(self) -> bool:
        """Whether the kernel ends the engine once it uses all that it has taken."""
        taken = self.weight_bytes + (self.kv_bytes or 0)
        return bool(self.total_bytes) and taken > self.total_bytes - self.others_bytes
