"""Engines and sessions of a check, with the typical noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pytest_vllmperf.records.samples import EngineSamples, Environment, Session
from pytest_vllmperf.records.verdict import MetricVerdict, Verdict
from pytest_vllmperf.verdict import Evidence, VerdictSettings

THROUGHPUT, TPOT = "output_throughput", "tpot.p50"
GATE = (THROUGHPUT, TPOT)


def engine(seed: int = 0, speed: float = 1.0, requests: int = 64, **more: Any) -> EngineSamples:
    """One engine with the typical noise, `speed` times as fast as usual."""
    rng = np.random.default_rng(seed)
    speed = speed * float(np.exp(rng.normal(0, 0.01)))
    noise = np.exp(rng.normal(0, 0.01, 10))
    by_request = np.linspace(0.1, 0.4, requests) / speed * np.exp(rng.normal(0, 0.02, requests))
    samples = {
        THROUGHPUT: (1000 * speed * noise).tolist(),
        **{name: (0.02 / speed / noise).tolist() for name in ("tpot.p50", "e2e.p50", "ttft.p95", "ttft.p99")},
        "ttft.p50": [float(np.median(by_request))] * 10,
        "itl.p95": (0.03 / speed / noise).tolist(),
        "queue.p50": [0.0] * 10,
        "engine_steps": [17.0] * 10,
        "output_tokens": [requests * 16.0] * 10,
        **more.pop("samples", {}),
    }
    return EngineSamples(discarded=2, iterations=10, samples=samples, ttft_by_request=by_request.tolist(), **more)


def session(engines: Sequence[EngineSamples]) -> Session:
    return Session(recorded="2026-01-01", environment=Environment(hard={}, soft={}), engines=list(engines))


def baseline(sessions: int = 5, **more: Any) -> list[Session]:
    return [session([engine(10 * day + n, **more) for n in range(3)]) for day in range(sessions)]


def engines(count: int = 3, speed: float = 1.0, **more: Any) -> list[EngineSamples]:
    return [engine(500 + n, speed, **more) for n in range(count)]


def evidence(new: Sequence[EngineSamples], *gate: str, **more: Any) -> Evidence:
    stored = more.pop("sessions", None) or baseline()
    settings = more.pop("settings", None) or VerdictSettings(gate or GATE)
    return Evidence(stored, new, settings, **more)


def of(verdict: Verdict, metric: str) -> MetricVerdict:
    return next(one for one in (*verdict.metrics, *verdict.information) if one.metric == metric)
