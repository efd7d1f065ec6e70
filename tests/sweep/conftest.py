"""A lab whose engines are simulated, on GPUs that tell what a test scripts; studies of such engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vllmperf import gpu
from pytest_vllmperf.engines.backends import BACKENDS, Backends
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab import leases, slots
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.release import ReleaseProof
from pytest_vllmperf.records.devices import GpuReading
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update
from tests.lab.conftest import starts

__all__ = ["starts"]

CARD = GpuDevice("GPU-1", "NVIDIA GeForce RTX 4060", 2**33, (8, 9), "565")
ON_GPUS = Backends(
    tuple(replace(row, uses_gpu=True, on_hardware=True) if row.name == "simulated" else row for row in BACKENDS.rows)
)


def _silent(doing: str, waited: float) -> None:
    """Nobody looks."""


def _opened(folder: Path, backends: Backends) -> Lab:
    return Lab(Settings(Update.NONE, folder / "baselines", DEFAULTS, 30.0, 20.0), _silent, backends)


ENGINE = 'model = "m"\nbackend = "simulated"\n'
WORKLOAD = "requests = 32\ninput_tokens = 8\noutput_tokens = 4\n"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a study: axes by name, and other entries as TOML."""

    def write(top: str = "", engine: str = ENGINE, workload: str = WORKLOAD, **axes: str) -> Path:
        path = tmp_path / "study.toml"
        parts = [f"iterations = 3\nwarmup = 0\n{top}", f"[engine]\n{engine}", f"[workload]\n{workload}"]
        parts += [f'[[axis]]\nname = "{name}"\nvalues = {values}\n' for name, values in axes.items()]
        path.write_text("\n".join(parts), encoding="utf-8")
        return path

    return write


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Simulated engines without hardware."""
    monkeypatch.setenv(leases.VARIABLE, str(tmp_path))
    opened = _opened(tmp_path, BACKENDS)
    yield opened
    opened.close()


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Lab]]:
    """A lab with one GPU of 8 GiB; called with the bytes of it that others use."""
    monkeypatch.setenv(leases.VARIABLE, str(tmp_path))
    monkeypatch.setattr(gpu, "devices", lambda: (CARD,))
    opened: list[Lab] = []

    def make(others: int) -> Lab:
        reading = GpuReading(0.0, others, {}, free_bytes=CARD.total_bytes - others)
        monkeypatch.setattr(gpu, "look", lambda uuid: reading)
        monkeypatch.setattr(slots, "ReleaseProof", lambda read: ReleaseProof(read, timeout=0.0))
        opened.append(_opened(tmp_path, ON_GPUS))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
