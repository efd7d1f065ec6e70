"""What only a GPU can show: NVML's meaning, not our reading of it. `nox -s gpu` runs it, nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vllmperf import gpu
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.options import DEFAULTS, Settings, Update
from pytest_vllmperf.session.perf import PerfSession

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


@pytest.fixture(scope="module")
def perf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PerfSession]:
    folder: Path = tmp_path_factory.mktemp("hardware")
    opened = PerfSession(Settings(Update.NONE, folder, DEFAULTS, 600.0, 300.0), lambda doing, waited: None)
    yield opened
    opened.close()
