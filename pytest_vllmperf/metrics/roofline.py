"""How close decoding came to the limit that the devices' memory bandwidth sets."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_vllmperf.records.engine import EngineFacts, WeightLayers
from pytest_vllmperf.records.roofline import RooflineLimits
from pytest_vllmperf.records.run import RunResult


@dataclass(frozen=True)
class Roofline:
    """What a decoding step has to read, and how fast the devices can read.

    Attributes:
        step_bytes: weights that every step reads, all devices together.
        token_bytes: KV cache of one token.
        bandwidth: bytes/s of the devices' memory, together.
    """

    step_bytes: float
    token_bytes: float
    bandwidth: float

    @classmethod
    def of(cls, facts: EngineFacts, bandwidth: float | None) -> Roofline | None:
        """Of an engine on its devices; None where a part is unknown, or a step does not read all of it.

        Args:
            facts: what the engine reported. A step reads some of a model's experts, and where layers differ in what
                they keep, such as sliding windows in some of them, not the whole context.
            bandwidth: bytes/s of the devices' memory, together; None where unknown.
        """
        weights, expected = facts.weights, facts.expected_kv_bytes_per_token
        if not bandwidth or expected is None or weights is None or weights.weight_bytes is None:
            return None
        if any(_of_experts(layers) for layers in weights.layers):
            return None
        return cls(weights.weight_bytes - weights.idle_bytes, facts.kv_bytes_per_token or expected, bandwidth)

    def utilization(self, result: RunResult) -> float | None:
        """Share of the memory's bandwidth that decoding used, 0 .. 1.

        Model bandwidth utilization (Databricks, "LLM inference performance engineering", 2023): (weight bytes + KV
        bytes read in a step) x steps/s over the bandwidth. A request's j-th step after its first token reads the KV
        cache of its prompt and of j tokens; what prefill reads beside the weights is left out.
        """
        begin, end = result.span
        if end <= begin or result.engine_steps is None:
            return None
        read = sum(
            (one.output_tokens - 1) * one.prompt_tokens + (one.output_tokens - 1) * one.output_tokens // 2
            for one in result.finished
            if one.output_tokens > 1
        )
        moved = result.engine_steps * self.step_bytes + read * self.token_bytes
        return moved / ((end - begin) * self.bandwidth)


def roofline_limits(
    facts: EngineFacts, bandwidth: float | None, flops: float | None, gpus: int
) -> RooflineLimits | None:
    """The limits that an engine's devices set; None where the bandwidth of one of them is not known.

    Args:
        facts: what the engine reported.
        bandwidth: bytes/s of the devices' memory, together; None where unknown.
        flops: operations/s of the devices, together; None where unknown.
        gpus: how many they are, each with as many weights.
    """
    if not bandwidth:
        return None
    layers = facts.weights.layers if facts.weights is not None else ()
    held = [layer.weights for layer in layers if layer.weights is not None]
    known = held and len(held) == len(layers) and not any(_of_experts(layer) for layer in layers)
    return RooflineLimits(memory_bandwidth=bandwidth, flops=flops, weights=sum(held) * gpus if known else None)


def _of_experts(layers: WeightLayers) -> bool:
    """Whether vLLM's class says so: `Fp8MoEMethod`, `MoeWNA16Method`, `ModelOptNvFp4FusedMoE` and so on."""
    name = layers.method.partition(" ")[0]  # what follows are its scheme and kernel
    return "moe" in name.lower() or "Experts" in name
