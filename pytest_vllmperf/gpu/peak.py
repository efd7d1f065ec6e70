"""What a GPU can compute at most, from its architecture, its cores and its highest clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_PER_CLOCK: Final[Mapping[tuple[int, int], int]] = {
    (7, 0): 1024,
    (7, 5): 1024,
    (8, 0): 2048,
    (8, 6): 1024,
    (8, 9): 1024,
    (9, 0): 4096,
    (10, 0): 8192,
    (12, 0): 1024,
}
"""Floating-point operations of the tensor cores of one SM in a clock, by compute capability: dense, 16-bit inputs, sums
in 32 bits. From NVIDIA's white papers of the architectures (V100, T4, A100, GA102, Ada, H100, Blackwell): the peak of a
card over its SMs and its boost clock."""
_HALVED: Final = "GeForce"
"""Cards of this name sum in 32 bits at half the rate."""
_CORES_PER_SM: Final = 128
_FEWER_CORES: Final[Mapping[tuple[int, int], int]] = {(7, 0): 64, (7, 5): 64, (8, 0): 64}


def peak_flops(name: str, compute_capability: tuple[int, int], cores: int | None, hertz: float | None) -> float | None:
    """Dense 16-bit operations a second of the tensor cores; None for an architecture that is not known.

    Args:
        name: as NVML gives it.
        compute_capability: (major, minor).
        cores: CUDA cores; None where unknown.
        hertz: the highest clock of the SMs; None where unknown.
    """
    per_clock = _PER_CLOCK.get(compute_capability)
    if per_clock is None or not cores or not hertz:
        return None
    multiprocessors = cores / _FEWER_CORES.get(compute_capability, _CORES_PER_SM)
    return multiprocessors * hertz * per_clock / (2 if _HALVED in name else 1)
