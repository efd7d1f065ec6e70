"""Measuring on behalf of tests: devices, engines and the environment brought together. No printing, no judging."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from math import prod
from typing import TypeVar

import psutil

from pytest_vllmperf import gpu, models
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.errors import NoGpuError, WorkloadError
from pytest_vllmperf.gpu import GpuDevice, GpuRequirement, Sampler
from pytest_vllmperf.lab import environment
from pytest_vllmperf.lab.driving import OnIteration, measure
from pytest_vllmperf.lab.leases import Leases
from pytest_vllmperf.lab.pool import EnginePool, Key
from pytest_vllmperf.lab.release import ReleaseProof
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.gpu_use import use
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.reduce import DeviceObservation, engine_samples
from pytest_vllmperf.models.checkpoint import model_digest, tensor_bytes
from pytest_vllmperf.records.devices import GpuTrace
from pytest_vllmperf.records.engine import Progress, Timeouts
from pytest_vllmperf.records.ledger import DeviceMemory, VramLedger
from pytest_vllmperf.records.run import EngineRun, MeasureSettings
from pytest_vllmperf.records.settings import Settings
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.stats.known import sum_of_all
from pytest_vllmperf.storage.baselines import BaselineStore
from pytest_vllmperf.validity import rules as validity
from pytest_vllmperf.workload import Workload

Answer = TypeVar("Answer")


class PerfSession:
    """All that one pytest process holds while it measures.

    Args:
        settings: the run's.
        progress: told what is going on, for a person.
    """

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self.settings = settings
        self.store = BaselineStore(settings.baselines)
        self._progress = progress
        self._leases = Leases()
        self._launcher = Launcher(Timeouts(start=settings.start_timeout, operation=settings.operation_timeout))
        self._targets: dict[Key, Target] = {}
        self._cold: dict[Key, bool] = {}
        self._asleep: set[Key] = set()
        self._proof = ReleaseProof(gpu.look)
        self.pool = EnginePool(self._start)

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
            NoGpuError: when not enough GPUs meet the requirement.
        """
        if spec.backend == "simulated" or (requirement is None and not self.gpus):
            return Target(spec.on(None))
        asked = requirement or GpuRequirement()
        asked = replace(asked, count=_gpus_of(spec.on(self.require(asked)[0].name), asked.count))
        fitting = {device.uuid: device for device in _alike(asked, self.require(asked), self.gpus)}
        uuids = self._leases.choose(list(fitting), asked.count, self._progress, self.pool.close)
        self._proof.taken(uuids)
        return Target(_spread(spec.on(fitting[uuids[0]].name), asked.count), tuple(fitting[uuid] for uuid in uuids))

    def measure(
        self, target: Target, workload: Workload, settings: MeasureSettings, allowed: Collection[str] = ()
    ) -> Measurement:
        """Measure one workload on one engine.

        Args:
            target: the engine.
            workload: what is sent.
            settings: how often.
            allowed: validity rules that are turned off.

        Raises:
            EngineError: when the engine does not start, or fails on the way.
            WorkloadError: when the workload does not fit it.
        """
        with self.engines([target]) as (engine,):
            with self.watching([target]) as sampler:
                run = measure(engine, workload, settings, self.iteration_progress(target))
            return self.measurement(target, workload, run, engine, sampler.traces(), allowed)

    def ask(self, target: Target, use: Callable[[Engine], Answer]) -> Answer:
        """Do something else with an engine, started if need be."""
        with self.engines([target]) as (engine,):
            return use(engine)

    def retire(self, targets: Sequence[Target]) -> None:
        """Stop engines, so that the next measurement on their spec starts a fresh one."""
        self.pool.retire([target.key for target in targets])

    def weight_bytes(self, targets: Sequence[Target]) -> dict[str, int | None]:
        """Size of each checkpoint by model name; None where it does not lie here."""
        return {target.spec.model: tensor_bytes(models.resolve(target.spec.model)) for target in targets}

    def release(self) -> None:
        """Stop the engines and give the devices back; a later test starts and takes them again.

        Raises:
            EngineError: when a device's memory did not come back. All are then kept until this process ends, so that
                no other run starts an engine into that.
        """
        self.pool.close()
        self._proof.wait([uuid for uuid in self._leases.held if uuid != "cpu"], self._progress)
        self._leases.release()

    def close(self) -> None:
        """End everything that was started."""
        try:
            self.pool.close()
        finally:
            self._launcher.close()
            self._leases.release()

    @contextmanager
    def engines(self, targets: Sequence[Target], *, asleep: bool = False) -> Iterator[list[Engine]]:
        """Running engines; those of a measurement that failed are ended, as nobody knows what they still do.

        Args:
            targets: which.
            asleep: only one of them may hold the device at a time: each sleeps before the next is started, and only
                the one that `wake` named last is awake.
        """
        keys = [target.key for target in targets]
        self._targets.update(zip(keys, targets, strict=True))
        try:
            for count, key in enumerate(keys, start=1):
                if asleep and key not in self.pool:
                    self._sleep_all(keys[: count - 1])
                    self.pool.get(keys[:count])
            running = self.pool.get(keys)
            if not asleep:  # an earlier comparison may have left one of them so
                self._wake_all(keys)
            yield running
        except WorkloadError:
            raise
        except BaseException:
            self.pool.discard(keys)
            raise

    def wake(self, targets: Sequence[Target], side: int) -> None:
        """Have one of these engines hold the device, where they cannot all; does nothing for others."""
        keys = [target.key for target in targets]
        if keys[side] in self._asleep:
            self._sleep_all(keys)
            self.pool.get(keys)[side].wake_up()
            self._asleep.discard(keys[side])

    def _sleep_all(self, keys: Sequence[Key]) -> None:
        for key, engine in zip(keys, self.pool.get(keys), strict=True):
            if key not in self._asleep:
                engine.sleep()
                self._asleep.add(key)

    def _wake_all(self, keys: Sequence[Key]) -> None:
        for key, engine in zip(keys, self.pool.get(keys), strict=True):
            if key in self._asleep:
                engine.wake_up()
                self._asleep.discard(key)

    def _start(self, key: Key) -> Engine:
        target, (_, uuids) = self._targets[key], key
        if target.spec.backend != "simulated":
            self._leases.choose(uuids or ("cpu",), len(uuids) or 1, self._progress, self.pool.close)
        if not any(uuid in other for _, other in self.pool.keys for uuid in uuids):
            self._proof.wait(uuids, self._progress)
        self._cold[key] = key not in self._cold
        self._asleep.discard(key)
        env = {"CUDA_VISIBLE_DEVICES": ",".join(uuids)} if target.gpus else {}
        name = target.spec.name
        try:
            engine = self._launcher.start(
                target.spec, env, lambda doing, waited: self._progress(f"{name}: {doing}", waited)
            )
        except BaseException:
            self._proof.started(uuids, ())  # what it has left behind has to come back too
            raise
        self._proof.started(uuids, _tree(engine))
        return engine

    def watching(self, targets: Sequence[Target]) -> Sampler:
        """What reads these engines' devices while they are measured."""
        return Sampler(tuple(dict.fromkeys(uuid for target in targets for uuid in target.key[1])))

    def iteration_progress(self, target: Target) -> OnIteration:
        """What tells a person of the iterations on this engine."""
        return lambda number: self._progress(f"{target.spec.name}: {number}", 0.0)

    def measurement(
        self,
        target: Target,
        workload: Workload,
        run: EngineRun,
        engine: Engine,
        traces: Sequence[GpuTrace],
        allowed: Collection[str] = (),
    ) -> Measurement:
        """What was measured on an engine that still runs, with where and on what.

        Args:
            target: the engine.
            workload: what was sent.
            run: what it did.
            engine: running.
            traces: what was seen of devices meanwhile; those of other engines are left out.
            allowed: validity rules that are turned off.
        """
        gpus = () if run.facts.device == "cpu" else target.gpus  # a CPU build uses none of those that it was given
        uuids = {device.uuid for device in gpus}
        own = [trace for trace in traces if trace.uuid in uuids]
        uses = tuple(use(own, result.span) for result in run.iterations)
        memory = _device_memory(engine, gpus)
        seen = DeviceObservation(uses, None if memory is None else memory.engine, _bandwidth(gpus))
        expected = validity.Expected(workload.ignore_eos, workload.fresh_prompts)
        observed = validity.Observed(own, uses, self._belonging(engine, uuids))
        found = validity.problems(run, expected, observed, allowed)
        digest = model_digest(models.resolve(target.spec.model))
        return Measurement(
            spec_label=target.spec.label,
            device=run.facts.device,
            profile=environment.profile(run.facts, gpus),
            workload=workload.describe(),
            environment=environment.fingerprint(target.spec, workload, run.facts, gpus, digest),
            engines=(
                engine_samples(run.facts, run.warmup, run.iterations, cold_start=self._cold[target.key], device=seen),
            ),
            problems=found,
            gpus=len(gpus),
            vram=VramLedger.of(run.facts, memory),
            traces=tuple(own),
        )

    def _belonging(self, engine: Engine, uuids: Collection[str]) -> dict[str, frozenset[int] | None]:
        """Processes that may be on each device, by its UUID."""
        pids = _tree(engine) if uuids else set()
        return {uuid: self._proof.belonging(uuid, pids) for uuid in uuids}


def _alike(asked: GpuRequirement, chosen: Sequence[GpuDevice], gpus: Sequence[GpuDevice]) -> list[GpuDevice]:
    """Those that fit and are called like the first that does: which one is free must not decide what is measured."""
    same = [device for device in gpus if asked.fits(device) and device.name == chosen[0].name]
    return same if len(same) >= asked.count else list(chosen)


def _parallel_sizes(spec: EngineSpec) -> list[object]:
    return [size for name, size in spec.args.items() if name.endswith("_parallel_size") and size is not None]


def _gpus_of(spec: EngineSpec, asked: int) -> int:
    """How many GPUs an engine uses: the reference one, vLLM those that its arguments spread it over."""
    if spec.backend != "offline":
        return 1
    sizes = _parallel_sizes(spec)
    return prod(size if isinstance(size, int) and size > 0 else 1 for size in sizes) if sizes else asked


def _spread(spec: EngineSpec, gpus: int) -> EngineSpec:
    """The engine on several GPUs; whoever names a kind of parallelism knows what for."""
    wanted = gpus > 1 and spec.backend == "offline" and not _parallel_sizes(spec)
    return spec.with_args(tensor_parallel_size=gpus) if wanted else spec


def _bandwidth(gpus: Sequence[GpuDevice]) -> float | None:
    known = [device.memory_bandwidth for device in gpus]
    return sum_of_all(known) if known else None


def _device_memory(engine: Engine, gpus: Sequence[GpuDevice]) -> DeviceMemory | None:
    """What the engine's devices hold now, as NVML sees it; None on a CPU."""
    readings = [reading for device in gpus if (reading := gpu.look(device.uuid)) is not None]
    if not readings or len(readings) < len(gpus):
        return None
    held = gpu.held_by(_tree(engine), readings)
    used = sum(reading.used_bytes or 0 for reading in readings)
    free = sum(reading.free_bytes or 0 for reading in readings)
    return DeviceMemory(sum(device.total_bytes for device in gpus), used, held, free)


def _tree(engine: Engine) -> set[int]:
    """The engine's processes."""
    if engine.pid is None:
        return set()
    try:
        leader = psutil.Process(engine.pid)
        return {leader.pid, *(child.pid for child in leader.children(recursive=True))}
    except psutil.NoSuchProcess:
        return set()
