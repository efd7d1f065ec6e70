"""The limits that an engine's GPUs set, for a roofline."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class RooflineLimits(BaseModel):
    """What the GPUs of one engine can do at most, all together, and what a token costs.

    The two coordinates of a measurement (Williams et al., "Roofline", 2009) follow from its metrics: it computes
    `2 * weights * total_token_throughput` operations a second (attention is left out), and moves
    `model_bandwidth_utilization * memory_bandwidth` bytes a second. Their ratio is its intensity.

    Attributes:
        memory_bandwidth: bytes/s.
        flops: dense 16-bit operations/s of the tensor cores at the highest clock; None for an unknown architecture.
        weights: numbers that each token is multiplied with; None where unknown, and for a mixture of experts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_bandwidth: float
    flops: float | None = None
    weights: int | None = None
