"""What GPUs can compute, against their data sheets: dense, 16-bit inputs, sums in 32 bits."""

from __future__ import annotations

import pytest

from pytest_vllmperf.gpu.peak import peak_flops


@pytest.mark.parametrize(
    ("name", "capability", "cores", "megahertz", "teraflops"),
    [
        ("Tesla V100-SXM2-16GB", (7, 0), 5120, 1530, 125),
        ("Tesla T4", (7, 5), 2560, 1590, 65),
        ("NVIDIA A100-SXM4-80GB", (8, 0), 6912, 1410, 312),
        ("NVIDIA GeForce RTX 3090", (8, 6), 10496, 1695, 71),
        ("NVIDIA RTX A6000", (8, 6), 10752, 1800, 154.8),
        ("NVIDIA GeForce RTX 4090", (8, 9), 16384, 2520, 165.2),
        ("NVIDIA L40S", (8, 9), 18176, 2520, 362),
        ("NVIDIA H100 80GB HBM3", (9, 0), 16896, 1830, 989.4),
        ("NVIDIA GeForce RTX 5090", (12, 0), 21760, 2407, 209.5),
    ],
)
def test_data_sheets(name: str, capability: tuple[int, int], cores: int, megahertz: int, teraflops: float) -> None:
    assert peak_flops(name, capability, cores, megahertz * 1e6) == pytest.approx(teraflops * 1e12, rel=0.02)


@pytest.mark.parametrize(
    ("capability", "cores", "hertz"), [((6, 1), 3584, 1e9), ((9, 0), None, 1e9), ((9, 0), 16896, None)]
)
def test_what_is_not_known_is_not_guessed(capability: tuple[int, int], cores: int | None, hertz: float | None) -> None:
    assert peak_flops("NVIDIA", capability, cores, hertz) is None
