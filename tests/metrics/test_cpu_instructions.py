"""CPU instructions in a gate: only where the machine could count them."""

from __future__ import annotations

import pytest

from pytest_vllmperf.metrics.table import METRICS, resolve_gate


@pytest.mark.parametrize(
    ("measured", "gated"),
    [(["cpu_seconds"], ("cpu_seconds",)), (["cpu_seconds", "cpu_instructions"], ("cpu_seconds", "cpu_instructions"))],
)
def test_they_are_judged_beside_cpu_time(measured: list[str], gated: tuple[str, ...]) -> None:
    assert resolve_gate(("cpu",), "cpu", measured) == gated
    assert METRICS["cpu_instructions"].kind is METRICS["cpu_seconds"].kind


def test_whoever_names_them_wants_them() -> None:
    assert resolve_gate(("cpu_instructions",), "cpu") == ("cpu_instructions",)
