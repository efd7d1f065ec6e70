"""Measuring a workload on a target, and assembling the `Measurement`. No printing, no judging."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

from pytest_vllmperf import models
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.gpu import Sampler
from pytest_vllmperf.lab import driving, environment, fleet
from pytest_vllmperf.lab.observing import observation
from pytest_vllmperf.lab.searching import find_rate
from pytest_vllmperf.lab.slots import Slots
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.lab.ticking import ticking
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.reduce import engine_samples
from pytest_vllmperf.metrics.roofline import roofline_limits
from pytest_vllmperf.metrics.timeline import engine_timeline
from pytest_vllmperf.models.checkpoint import model_digest
from pytest_vllmperf.records.devices import GpuTrace
from pytest_vllmperf.records.engine import Progress
from pytest_vllmperf.records.ledger import VramLedger
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.run import EngineRun, MeasureSettings
from pytest_vllmperf.records.settings import Settings
from pytest_vllmperf.records.timeline import EngineTimeline
from pytest_vllmperf.records.variables import VariablesKey
from pytest_vllmperf.storage.variables_key import find_key
from pytest_vllmperf.validity import rules as validity
from pytest_vllmperf.workload import Workload

_OF_OVERLOAD = ("failed", "preemptions")
"""Validity rules for what a server may do above the rate that it can serve."""


class Measuring:
    """Measures on the engines of a run.

    Args:
        slots: where they run.
        progress: called with what is going on, for a person.
        settings: of the run: the name of the profile, and how often an engine is started at most.
        live: whether progress is a line that is rewritten in place.
    """

    def __init__(
        self, slots: Slots, progress: Progress, settings: Settings, live: Callable[[], bool] = lambda: False
    ) -> None:
        self._slots = slots
        self._progress = progress
        self._live = live
        self._profile_name = settings.profile_name
        self._most_starts = max(settings.max_engines, settings.engines)

    @cached_property
    def _key(self) -> VariablesKey | None:
        """Of the hashes of variables; looked for once an engine has any."""
        return find_key(os.environ)

    def measure(
        self, target: Target, workload: Workload, settings: MeasureSettings, allowed: Collection[str] = ()
    ) -> Measurement:
        """Measure one workload on one engine; how it was made travels with the measurement.

        Args:
            target: the engine.
            workload: what is sent.
            settings: how often.
            allowed: validity rules that are turned off.

        Raises:
            EngineError: when the engine does not start, or fails on the way.
            WorkloadError: when the workload does not fit it.
        """
        # Before the start of an engine, which may take minutes.
        driving.check_can_be_sent(
            workload, target.spec, serves=target.backend.over_http, vllm_requests=target.backend.vllm_requests
        )
        with self._slots.engines([target], timed=True) as (engine,):
            with self.watching([target]) as sampler, self.telling(target) as told:
                run = driving.measure(engine, workload, settings, told)
            measured = self.measurement(target, workload, run, engine, sampler.traces(), allowed)
        return replace(measured, made_with=Take(target, workload, settings, tuple(allowed)))

    def search(self, take: Take) -> Measurement:
        """Search for the highest rate that keeps a promise; each iteration of the measurement is one replicate.

        What only a probe above the highest rate meets, as failed requests, does not void it.

        Raises:
            EngineError: when the engine does not start, or fails on the way.
            WorkloadError: when the workload does not fit it.
        """
        assert take.search is not None
        target, workload, search = take.target, take.workload, take.search
        at_some_rate = workload.at(rate=1.0)
        driving.check_can_be_sent(
            at_some_rate, target.spec, serves=target.backend.over_http, vllm_requests=target.backend.vllm_requests
        )
        with self._slots.engines([target], timed=True) as (engine,):
            with self.watching([target]) as sampler, self.telling(target) as told:
                found = find_rate(engine, workload, take.settings, search, told)
            probes = replace(found.run, iterations=found.probes)
            allowed = (*take.allowed, *_OF_OVERLOAD)
            seen = self.measurement(target, workload, probes, engine, sampler.traces(), allowed)
        hard = {**seen.environment.hard, "search": search.key}
        run, cold = found.run, self._slots.cold(target)
        samples = engine_samples(run.facts, run.warmup, run.iterations, cold_start=cold)
        rates = {"max_rate": samples.samples["max_rate"]}  # tokens and times of probes at any rate are no figures
        return replace(
            seen,
            engines=(samples.model_copy(update={"samples": rates}),),
            environment=seen.environment.model_copy(update={"hard": dict(sorted(hard.items()))}),
            iterations=(),
            rates=(*seen.rates, found.rate),
            made_with=take,
        )

    def watching(self, targets: Sequence[Target]) -> Sampler:
        """What reads these engines' devices while they are measured."""
        return Sampler(tuple(dict.fromkeys(uuid for target in targets for uuid in target.uuids)))

    def iteration_progress(self, target: Target) -> driving.OnIteration:
        """What tells a person of the iterations on this engine."""
        prefix = self._prefix(target)
        return lambda number: self._progress(f"{prefix}{number}", 0.0)

    @contextmanager
    def telling(self, target: Target) -> Iterator[driving.OnIteration]:
        """The same for iterations that begin in here; on a terminal it counts the time left down meanwhile."""
        if not self._live():
            yield self.iteration_progress(target)
            return
        with ticking(self._progress, self._prefix(target)) as told:
            yield told

    def _prefix(self, target: Target) -> str:
        start = self._slots.starts(target)
        which = f" (engine start {start} of at most {max(start, self._most_starts)})" if start > 1 else ""
        return f"{target.spec.name}{which}: "

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
        gpus = () if run.facts.on_cpu else target.gpus  # a CPU build uses none of those that it was given
        seen = observation(engine, gpus, run.iterations, traces, self._slots.proof)
        problems = _problems(workload, run, validity.Observed(seen.traces, seen.uses, seen.occupants), allowed)
        cold = self._slots.cold(target)
        digest = model_digest(models.resolve(target.spec.model))
        made_in = environment.fingerprint(
            target,
            workload,
            run.facts,
            gpus,
            digest,
            self._key if target.spec.env else None,
            [result.host for result in run.iterations],
        )
        return Measurement(
            spec_label=target.spec.label,
            device=environment.boundary(target.backend, run.facts),
            profile=self._profile_name or environment.profile(target.backend, run.facts, gpus),
            workload=workload.describe(),
            environment=fleet.named(made_in, self._profile_name) if self._profile_name else made_in,
            engines=(engine_samples(run.facts, run.warmup, run.iterations, cold_start=cold, device=seen.for_metrics),),
            problems=tuple(problems),
            gpus=len(gpus),
            vram=VramLedger.of(run.facts, seen.memory),
            traces=seen.traces,
            iterations=(run.iterations,),
            unmeasured=run.facts.unmeasured,
            roofline=roofline_limits(run.facts, seen.bandwidth, seen.flops, len(gpus)),
            timelines=(self._timeline(target, run, seen.traces),),
        )

    def _timeline(self, target: Target, run: EngineRun, traces: Sequence[GpuTrace]) -> EngineTimeline | None:
        start = self._slots.started(target)
        return None if start is None else engine_timeline(start, run, traces)


def _problems(
    workload: Workload, run: EngineRun, observed: validity.Observed, allowed: Collection[str]
) -> Sequence[Problem]:
    """What voids a measurement of this workload."""
    expected = validity.Expected(workload.ignore_eos, workload.fresh_prompts)
    return validity.problems(run, expected, observed, allowed)
