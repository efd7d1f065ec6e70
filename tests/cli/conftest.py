"""Baseline files with samples that vary as engines do, written where a test wants them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from pytest_vllmperf.storage.baselines import BaselineFile
from pytest_vllmperf.storage.versioned import dumps

GATE = ["output_throughput", "ttft.p50", "tpot.p50", "e2e.p50"]
HARD = {"device": "cuda", "gpu": "NVIDIA H200", "workload": "w1"}


def engine(rng: np.random.Generator, level: float, steps: int = 17) -> EngineSamples:
    """One engine with `level` tok/s, latencies to match, and four requests."""
    speed = level * float(np.exp(rng.normal(0, 0.01)))
    rates = [round(speed * float(np.exp(rng.normal(0, 0.005))), 4) for _ in range(10)]
    seconds = [round(100 / rate, 7) for rate in rates]
    return EngineSamples(
        discarded=2,
        iterations=10,
        samples={
            "output_throughput": rates,
            **dict.fromkeys(("ttft.p50", "tpot.p50", "e2e.p50"), seconds),
            "engine_steps": [float(steps)] * 10,
        },
        ttft_by_request=[seconds[0] * factor for factor in (0.5, 0.8, 1.2, 2.0)],
    )


def entry(
    level: float = 1000.0,
    sessions: int = 5,
    hard: dict[str, str] | None = None,
    steps: int = 17,
    judging: Judging | None = None,
) -> Entry:
    """One check: sessions of three engines each, on consecutive days."""
    rng = np.random.default_rng(7)
    environment = Environment(hard=hard or HARD, soft={"version of vllm": f"for {level:g} tok/s"})
    return Entry(
        engine="model quantization='awq'",
        workload={"count": 4},
        judging=judging or Judging(gate=GATE, margin=0.05),
        reason="a newer driver",
        sessions=[
            Session(
                recorded=f"2026-01-{day + 1:02}T00:00:00+00:00",
                environment=environment,
                engines=[engine(rng, level, steps) for _ in range(3)],
            )
            for day in range(sessions)
        ],
    )


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write checks into a file below the test's folder and return its path."""

    def write(name: str, **checks: Entry) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dumps(BaselineFile(tests=checks)), encoding="utf-8")
        return path

    return write
