"""What the memory of an engine's devices held over time, from the engine's start on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from pytest_vllmperf.records.devices import GpuTrace

PhaseName = Literal["loading", "warm-up", "measuring"]


@dataclass(frozen=True)
class StartSeen:
    """One engine start, seen from outside.

    Attributes:
        began: when it was asked for, in seconds on the monotonic clock.
        ready: when it could take requests, on the same clock.
        traces: of its devices meanwhile.
    """

    began: float
    ready: float
    traces: tuple[GpuTrace, ...] = ()


class Phase(BaseModel):
    """What an engine did for a while.

    Attributes:
        name: `loading` until it can take requests; `warm-up` and `measuring` from the first to the last request of
            these iterations.
        begin: seconds since the engine's start.
        end: the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: PhaseName
    begin: float
    end: float


class DeviceMemory(BaseModel):
    """The memory in use of one device over time, by all processes, as NVML tells it.

    Of many readings some are left out; the highest and the lowest of every stretch of time are kept.

    Attributes:
        at: seconds since the engine's start, rising.
        used_bytes: at each of these times.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: tuple[float, ...]
    used_bytes: tuple[int, ...]

    @model_validator(mode="after")
    def _of_one_length(self) -> DeviceMemory:
        if len(self.at) != len(self.used_bytes):
            raise ValueError("at and used_bytes differ in length")
        return self


class EngineTimeline(BaseModel):
    """The devices of one engine while it was started and measured; nothing is told of the time in between.

    Attributes:
        phases: in the order in which they began; one that nobody saw is missing.
        devices: one entry for each of the engine's devices, in its order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    phases: tuple[Phase, ...]
    devices: tuple[DeviceMemory, ...]
