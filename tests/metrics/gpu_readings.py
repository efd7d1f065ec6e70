"""Readings of one GPU over time, as tests write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_vllmperf.records.devices import GpuReading, GpuTrace

WHOLE = (0.0, 10.0)


def trace(*readings: GpuReading, uuid: str = "a") -> GpuTrace:
    return GpuTrace(uuid, readings)


def series(**values: Sequence[Any]) -> GpuTrace:
    """A reading a second from zero on, of one value of each list."""
    told = [dict(zip(values, one, strict=True)) for one in zip(*values.values(), strict=True)]
    return trace(*(GpuReading(at=float(second), **one) for second, one in enumerate(told)))
