"""`Target`: an engine and where it is to run."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab.pool import Key
from pytest_vllmperf.records.spec import EngineSpec


@dataclass(frozen=True)
class Target:
    """An engine and where it is to run.

    Attributes:
        spec: which engine.
        gpus: the GPUs chosen for it; empty to leave the choice to vLLM, or for a CPU.
    """

    spec: EngineSpec
    gpus: tuple[GpuDevice, ...] = ()

    @property
    def key(self) -> Key:
        """What the pool knows it by."""
        return self.spec, tuple(device.uuid for device in self.gpus)
