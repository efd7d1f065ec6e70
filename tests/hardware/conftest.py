"""What only a GPU can show: NVML's meaning, not our reading of it. `nox -s gpu` runs it, nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vllmperf import gpu
from pytest_vllmperf.gpu import GpuDevice
from tests.measuring import perf

__all__ = ["perf"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is `hardware`."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.hardware)


@pytest.fixture(scope="session")
def device() -> GpuDevice:
    found = gpu.devices()
    assert found, "these tests need a GPU; deselect them with -m 'not hardware'"
    return found[0]
