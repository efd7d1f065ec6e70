"""What tests of served engines share: how they are measured, and what is looked for around them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psutil

from pytest_vllmperf.engines.serve import ServedEngine
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload

from .conftest import MODEL, TINY

GONE_WITHIN_S = 5
TWICE = MeasureSettings(warmup=1, iterations=2)
ONCE = MeasureSettings(warmup=0, iterations=1)


def served(lab: Lab, **arguments: Any) -> Target:
    """A server of the tiny model; keywords are arguments of `vllm serve` over `TINY`."""
    return lab.target(EngineSpec.create(MODEL, backend="serve", **{**TINY, **arguments}), None)


def measured(lab: Lab, target: Target, workload: Workload, settings: MeasureSettings = TWICE) -> Measurement:
    """Measured without a word on a busy client: neighbours on this machine must not decide a test."""
    return lab.measure(target, workload, settings, ("client",))


def engine_of(lab: Lab, target: Target) -> ServedEngine:
    """The running engine of a target, started if need be."""
    with lab.engines([target]) as (engine,):
        assert isinstance(engine, ServedEngine)
        return engine


def group(leader: int) -> list[psutil.Process]:
    """The engine's process and all below it."""
    process = psutil.Process(leader)
    return [process, *process.children(recursive=True)]


def left(processes: Sequence[psutil.Process]) -> list[str]:
    """Those that still live after as long as they may."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while (alive := [text for one in processes if (text := _alive(one))]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive


def _alive(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            return f"{process.pid}: {' '.join(process.cmdline())}"
    return ""
