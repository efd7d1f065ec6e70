"""Which devices an engine runs on: those that fit, leased, and the engine spread over as many as it is to use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import prod
from typing import Any

from pytest_vllmperf import gpu, models
from pytest_vllmperf.engines.backends import BACKENDS, Backend, Backends
from pytest_vllmperf.errors import NoGpuError
from pytest_vllmperf.gpu import GpuDevice, GpuRequirement
from pytest_vllmperf.lab.slots import Slots
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.models.checkpoint import tensor_bytes
from pytest_vllmperf.records.spec import EngineSpec


class Targets:
    """Makes targets of specs.

    Args:
        slots: leases devices, and ends the engines on those that have to be given back.
        backends: the kinds of engines that there are.
    """

    def __init__(self, slots: Slots, backends: Backends = BACKENDS) -> None:
        self._slots = slots
        self._backends = backends

    @cached_property
    def gpus(self) -> tuple[GpuDevice, ...]:
        """The GPUs of this machine, looked up once."""
        return gpu.devices()

    def require(self, asked: GpuRequirement) -> tuple[GpuDevice, ...]:
        """The first GPUs that meet a requirement, leased or not.

        Raises:
            NoGpuError: when there are not enough, naming what was found and what is hidden.
        """
        try:
            return asked.choose(self.gpus)
        except NoGpuError as error:
            note = gpu.hidden()
            raise NoGpuError(f"{error}; {note}" if note else str(error)) from None

    def target(self, spec: EngineSpec, requirement: GpuRequirement | None) -> Target:
        """Choose the devices for an engine and lease them; without a requirement one GPU, where there is one.

        Of the GPUs that fit, those that this run holds come first, then those that are free; else it waits. Several
        GPUs mean tensor parallelism over them; engine arguments that say how it is spread say how many it takes.

        Raises:
            SpecError: for a backend that does not exist, or an argument that its engines cannot be measured with.
            NoGpuError: when not enough GPUs meet the requirement.
        """
        backend = self._backends.of(self._backends.checked(spec))
        if not backend.uses_gpu or (requirement is None and not self.gpus):
            return self._made(spec.on(None), ())
        asked = requirement or GpuRequirement()
        asked = replace(asked, count=self._count(backend, spec.on(self.require(asked)[0].name), asked))
        fitting = {device.uuid: device for device in _alike(asked, self.require(asked), self.gpus)}
        chosen = tuple(fitting[uuid] for uuid in self._slots.lease(list(fitting), asked.count))
        return self._made(_spread(backend, spec.on(chosen[0].name), asked.count), chosen)

    def _count(self, backend: Backend, spec: EngineSpec, asked: GpuRequirement) -> int:
        """How many GPUs of this host an engine gets; Ray finds those that it has not on other hosts."""
        count = _gpus_of(backend, spec, asked.count)
        if backend.spreads and spec.args.get("distributed_executor_backend") == "ray":
            return min(count, sum(1 for device in self.gpus if asked.fits(device)))
        return count

    def _made(self, spec: EngineSpec, gpus: tuple[GpuDevice, ...]) -> Target:
        return Target(self._backends.checked(spec), gpus, self._backends)


def weight_bytes(targets: Sequence[Target]) -> dict[str, int | None]:
    """Size of each checkpoint by model name; None where it does not lie here."""
    return {target.spec.model: tensor_bytes(models.resolve(target.spec.model)) for target in targets}


def _alike(asked: GpuRequirement, chosen: Sequence[GpuDevice], gpus: Sequence[GpuDevice]) -> list[GpuDevice]:
    """Those that fit and are called like the first that does: which one is free must not decide what is measured."""
    same = [device for device in gpus if asked.fits(device) and device.name == chosen[0].name]
    return same if len(same) >= asked.count else list(chosen)


def parallel_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What says over how many GPUs an engine is spread; the product of all is their number."""
    return {name: size for name, size in arguments.items() if name.endswith("_parallel_size") and size is not None}


def _gpus_of(backend: Backend, spec: EngineSpec, asked: int) -> int:
    """How many GPUs an engine uses: those that its arguments spread it over, or one where it cannot be spread."""
    if not backend.spreads:
        return 1
    sizes = parallel_arguments(spec.args).values()
    return prod(size if isinstance(size, int) and size > 0 else 1 for size in sizes) if sizes else asked


def _spread(backend: Backend, spec: EngineSpec, gpus: int) -> EngineSpec:
    """The engine on several GPUs; whoever names a kind of parallelism knows what for."""
    wanted = gpus > 1 and backend.spreads and not parallel_arguments(spec.args)
    return spec.with_args(tensor_parallel_size=gpus) if wanted else spec
