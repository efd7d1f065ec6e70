"""What was seen of an engine's devices while it was measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pytest_vllmperf import gpu
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab import processes
from pytest_vllmperf.lab.release import ReleaseProof
from pytest_vllmperf.metrics.gpu_use import use
from pytest_vllmperf.metrics.reduce import DeviceObservation
from pytest_vllmperf.records.devices import GpuTrace, GpuUse, Occupants
from pytest_vllmperf.records.ledger import DeviceMemory
from pytest_vllmperf.records.run import RunResult
from pytest_vllmperf.stats.known import sum_of_all


@dataclass(frozen=True)
class Observation:
    """What was seen of the devices of one engine.

    Attributes:
        traces: of these devices alone.
        uses: what they did in each iteration; None where nothing was read.
        memory: what they hold now; None on a CPU, or where one of them did not tell.
        bandwidth: bytes/s of their memory, all together; None where unknown.
        flops: operations/s of them, all together; None where unknown.
        occupants: who may be on each device, by its UUID.
    """

    traces: tuple[GpuTrace, ...]
    uses: tuple[GpuUse | None, ...]
    memory: DeviceMemory | None
    bandwidth: float | None
    flops: float | None
    occupants: Mapping[str, Occupants]

    @property
    def for_metrics(self) -> DeviceObservation:
        """The part of it that metrics are made of."""
        return DeviceObservation(self.uses, None if self.memory is None else self.memory.engine, self.bandwidth)


def observation(
    engine: Engine,
    gpus: Sequence[GpuDevice],
    iterations: Sequence[RunResult],
    traces: Sequence[GpuTrace],
    proof: ReleaseProof,
) -> Observation:
    """What was seen of an engine's devices.

    Args:
        engine: running.
        gpus: its devices.
        iterations: the counted ones.
        traces: of devices meanwhile; those of other engines are left out.
        proof: what the devices held before this run.
    """
    uuids = {device.uuid for device in gpus}
    own = tuple(trace for trace in traces if trace.uuid in uuids)
    return Observation(
        traces=own,
        uses=tuple(use(own, result.span) for result in iterations),
        memory=device_memory(engine, gpus),
        bandwidth=_together([device.memory_bandwidth for device in gpus]),
        flops=_together([device.flops for device in gpus]),
        occupants=_occupants(engine, uuids, proof),
    )


def device_memory(engine: Engine, gpus: Sequence[GpuDevice]) -> DeviceMemory | None:
    """What the engine's devices hold now, as NVML sees it; None on a CPU."""
    readings = [reading for device in gpus if (reading := gpu.look(device.uuid)) is not None]
    if not readings or len(readings) < len(gpus):
        return None
    held = gpu.held_by(processes.tree(engine), readings)
    used = sum(reading.used_bytes or 0 for reading in readings)
    free = sum(reading.free_bytes or 0 for reading in readings)
    return DeviceMemory(sum(device.total_bytes for device in gpus), used, held, free)


def _together(of_each: Sequence[float | None]) -> float | None:
    return sum_of_all(of_each) if of_each else None


def _occupants(engine: Engine, uuids: Collection[str], proof: ReleaseProof) -> dict[str, Occupants]:
    pids = processes.tree(engine) if uuids else set()
    return {uuid: proof.occupants(uuid, pids) for uuid in uuids}
