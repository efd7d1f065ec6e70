"""Measuring on behalf of tests: devices, engines and the environment brought together. No printing, no judging."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TypeVar

import psutil

from pytest_vllmperf import environment, gpu, models, validity
from pytest_vllmperf.baseline import BaselineStore
from pytest_vllmperf.engines.base import Engine, Progress, Timeouts
from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.gpu import GpuDevice, GpuRequirement
from pytest_vllmperf.measure import EngineRun, MeasureSettings, OnIteration, measure
from pytest_vllmperf.metrics.records import Measurement
from pytest_vllmperf.metrics.reduce import engine_samples
from pytest_vllmperf.models.checkpoint import tensor_bytes
from pytest_vllmperf.options import Settings
from pytest_vllmperf.session.leases import Leases
from pytest_vllmperf.session.pool import EnginePool, Key
from pytest_vllmperf.session.target import Target
from pytest_vllmperf.spec import EngineSpec
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
        self.pool = EnginePool(self._start)

    @cached_property
    def gpus(self) -> tuple[GpuDevice, ...]:
        """The GPUs of this machine, looked up once."""
        return gpu.devices()

    def target(self, spec: EngineSpec, requirement: GpuRequirement | None) -> Target:
        """Choose the devices for an engine; without a requirement the first GPU, where there is one.

        Raises:
            NoGpuError: when no GPU meets the requirement.
        """
        if spec.backend == "simulated":
            return Target(spec)
        if requirement is None and not self.gpus:
            return Target(spec)
        return Target(spec, (requirement or GpuRequirement()).choose(self.gpus))

    def measure(self, target: Target, workload: Workload, settings: MeasureSettings) -> Measurement:
        """Measure one workload on one engine.

        Raises:
            EngineError: when the engine does not start, or fails on the way.
            WorkloadError: when the workload does not fit it.
        """
        with self.engines([target]) as (engine,):
            run = measure(engine, workload, settings, self.iteration_progress(target))
            return self.measurement(target, workload, run, engine)

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
        """Stop the engines and give the devices back; a later test starts and takes them again."""
        self.pool.close()
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
        target = self._targets[key]
        if target.spec.backend != "simulated":
            self._leases.acquire(key[1] or ("cpu",), self._progress)
        self._cold[key] = key not in self._cold
        self._asleep.discard(key)
        env = {"CUDA_VISIBLE_DEVICES": ",".join(key[1])} if target.gpus else {}
        name = target.spec.name
        return self._launcher.start(target.spec, env, lambda doing, waited: self._progress(f"{name}: {doing}", waited))

    def iteration_progress(self, target: Target) -> OnIteration:
        """What tells a person of the iterations on this engine."""
        return lambda number: self._progress(f"{target.spec.name}: {number}", 0.0)

    def measurement(self, target: Target, workload: Workload, run: EngineRun, engine: Engine) -> Measurement:
        """What was measured on an engine that still runs, with where and on what."""
        digest = environment.model_digest(models.resolve(target.spec.model))
        samples = engine_samples(
            run.facts,
            run.warmup,
            run.iterations,
            cold_start=self._cold[target.key],
            device_memory=_memory_held(engine, target),
        )
        return Measurement(
            spec_label=target.spec.label,
            device=run.facts.device,
            profile=environment.profile(run.facts, target.gpus),
            workload=workload.describe(),
            environment=environment.fingerprint(target.spec, workload, run.facts, target.gpus, digest),
            engines=(samples,),
            problems=validity.problems(run, exact_length=workload.ignore_eos),
        )


def _memory_held(engine: Engine, target: Target) -> int | None:
    """Bytes of device memory that the engine's processes hold now."""
    if engine.pid is None or not target.gpus:
        return None
    try:
        leader = psutil.Process(engine.pid)
        pids = {leader.pid, *(child.pid for child in leader.children(recursive=True))}
    except psutil.NoSuchProcess:
        return None
    return gpu.memory_held(pids, target.gpus)
