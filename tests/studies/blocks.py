"""A KV cache in blocks: how many an engine has and uses, out of a measurement."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_vllmperf import Measurement


@dataclass(frozen=True)
class Blocks:
    """The blocks of an engine's KV cache.

    Attributes:
        size: tokens of a block.
        number: how many there are; vLLM keeps one of them for itself.
        bytes_per_token: of all layers.
        used: most in use at once.
    """

    size: int
    number: int
    bytes_per_token: int
    used: int

    @classmethod
    def of(cls, run: Measurement) -> Blocks:
        """As the engine told of itself, and of its fullest step."""
        size = int(run.environment.soft["resolved block_size"])
        number = round(run.kv_cache_tokens) // size
        return cls(size, number, round(run.kv_bytes_per_token), round(run.kv_usage_max * (number - 1)))

    def holding(self, tokens: int) -> int:
        """Blocks that one request of so many tokens needs."""
        return -(-tokens // self.size)

    @property
    def used_bytes(self) -> int:
        """Bytes of the blocks in use."""
        return self.used * self.size * self.bytes_per_token
