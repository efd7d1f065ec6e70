"""What tokens cost."""

from __future__ import annotations


def cost_per_million_tokens(throughput: float, gpus: int, gpu_hour_price: float) -> float:
    """The cost of a million tokens, in the currency of the price.

    Args:
        throughput: tokens a second, of all GPUs together.
        gpus: how many there are.
        gpu_hour_price: of one of them for one hour.
    """
    return gpu_hour_price * gpus / (throughput * 3600) * 1e6
