"""`Target`: an engine and where it is to run."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_vllmperf.engines.backends import BACKENDS, Backend, Backends
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.records.spec import EngineSpec


@dataclass(frozen=True)
class Target:
    """An engine and where it is to run.

    Attributes:
        spec: which engine.
        gpus: the GPUs chosen for it; empty to leave the choice to vLLM, or for a CPU.
        backends: the table that has its backend.
        reference: whether it is the reference of a measurement in turns; it is another one than the new engine even
            where interpreter and arguments are the same.
    """

    spec: EngineSpec
    gpus: tuple[GpuDevice, ...] = ()
    backends: Backends = field(default=BACKENDS, compare=False, repr=False)
    reference: bool = False

    @property
    def backend(self) -> Backend:
        """What kind of engine it is.

        Raises:
            SpecError: when there is no such backend.
        """
        return self.backends.of(self.spec)

    @property
    def uuids(self) -> tuple[str, ...]:
        """Of its GPUs."""
        return tuple(device.uuid for device in self.gpus)
