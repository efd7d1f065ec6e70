"""Studies of the simulated engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_vllmperf.engines import simulated
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.lab import leases
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update
from pytest_vllmperf.records.spec import EngineSpec

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
    monkeypatch.setenv(leases.VARIABLE, str(tmp_path))
    opened = Lab(Settings(Update.NONE, tmp_path / "baselines", DEFAULTS, 30.0, 20.0), lambda doing, waited: None)
    yield opened
    opened.close()


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The label of every simulated engine that is started."""
    started: list[str] = []

    def start(spec: EngineSpec, number: int = 0) -> SimulatedEngine:
        started.append(spec.label)
        return SimulatedEngine(spec, number)

    monkeypatch.setattr(simulated, "SimulatedEngine", start)
    return started
