"""Measuring on behalf of tests: devices, engines and the environment brought together. No printing, no judging."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from pytest_vllmperf import environment, gpu, models, validity
from pytest_vllmperf.baseline import BaselineStore
from pytest_vllmperf.engines.base import Engine, Progress, Timeouts
from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.gpu import GpuDevice, GpuRequirement
from pytest_vllmperf.measure import EngineRun, MeasureSettings, OnIteration, measure, measure_in_turns
from pytest_vllmperf.metrics.records import Measurement
from pytest_vllmperf.metrics.reduce import engine_samples
from pytest_vllmperf.options import Settings
from pytest_vllmperf.session.leases import Leases
from pytest_vllmperf.session.pool import EnginePool, Key
from pytest_vllmperf.spec import EngineSpec
from pytest_vllmperf.workload import Workload


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
        with self._engines([target]) as (engine,):
            run = measure(engine, workload, settings, self._iteration_progress(target))
        return self._measurement(target, workload, run)

    def retire(self, targets: Sequence[Target]) -> None:
        """Stop engines, so that the next measurement on their spec starts a fresh one."""
        self.pool.retire([target.key for target in targets])

    def measure_in_turns(
        self, targets: tuple[Target, Target], workload: Workload, settings: MeasureSettings
    ) -> tuple[Measurement, Measurement]:
        """Measure two engines, both running, in turns.

        Raises:
            EngineError: when an engine does not start, or fails on the way.
            WorkloadError: when the workload does not fit one of them.
        """
        with self._engines(targets) as (a, b):
            runs = measure_in_turns((a, b), workload, settings, self._iteration_progress(targets[0]))
        first, second = (self._measurement(target, workload, run) for target, run in zip(targets, runs, strict=True))
        return first, second

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
    def _engines(self, targets: Sequence[Target]) -> Iterator[list[Engine]]:
        """Running engines; those of a measurement that failed are ended, as nobody knows what they still do."""
        keys = [target.key for target in targets]
        self._targets.update(zip(keys, targets, strict=True))
        try:
            yield self.pool.get(keys)
        except WorkloadError:
            raise
        except BaseException:
            self.pool.discard(keys)
            raise

    def _start(self, key: Key) -> Engine:
        target = self._targets[key]
        if target.spec.backend != "simulated":
            self._leases.acquire(key[1] or ("cpu",), self._progress)
        self._cold[key] = key not in self._cold
        env = {"CUDA_VISIBLE_DEVICES": ",".join(key[1])} if target.gpus else {}
        name = target.spec.name
        return self._launcher.start(target.spec, env, lambda doing, waited: self._progress(f"{name}: {doing}", waited))

    def _iteration_progress(self, target: Target) -> OnIteration:
        return lambda number: self._progress(f"{target.spec.name}: {number}", 0.0)

    def _measurement(self, target: Target, workload: Workload, run: EngineRun) -> Measurement:
        digest = environment.model_digest(models.resolve(target.spec.model))
        return Measurement(
            spec_label=target.spec.label,
            device=run.facts.device,
            profile=environment.profile(run.facts, target.gpus),
            workload=workload.describe(),
            environment=environment.fingerprint(target.spec, workload, run.facts, target.gpus, digest),
            engines=(engine_samples(run.facts, run.warmup, run.iterations, cold_start=self._cold[target.key]),),
            problems=validity.problems(run, exact_length=workload.ignore_eos),
        )
