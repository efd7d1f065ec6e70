"""`Measurement`: the result of `measure()`, with every metric as an attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_vllmperf import stats
from pytest_vllmperf.errors import CheckFailed, NotMeasuredError, did_you_mean
from pytest_vllmperf.metrics import promises
from pytest_vllmperf.metrics.cost import cost_per_million_tokens
from pytest_vllmperf.metrics.kernel_sums import kernel_sums, no_device_pass
from pytest_vllmperf.metrics.requests import request_columns
from pytest_vllmperf.metrics.table import CLOCK_METRICS, METRICS, AllMetrics, check_known
from pytest_vllmperf.records.devices import GpuTrace
from pytest_vllmperf.records.kernels import KernelTime, KernelTrace
from pytest_vllmperf.records.ledger import VramLedger
from pytest_vllmperf.records.problems import Problem, in_words
from pytest_vllmperf.records.rates import FoundRate
from pytest_vllmperf.records.reference import Reference
from pytest_vllmperf.records.requests import Requests
from pytest_vllmperf.records.roofline import RooflineLimits
from pytest_vllmperf.records.run import RunResult
from pytest_vllmperf.records.samples import EngineSamples, Environment
from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.records.timeline import EngineTimeline

_LONGEST_LABEL = 40


@dataclass(frozen=True, repr=False)
class Measurement(AllMetrics):
    """One workload on one engine spec, from one engine start or several.

    Every metric is an attribute (`run.output_throughput`, in the unit of its declaration), a distribution has its
    points (`run.ttft.p50`, in seconds). A metric that was not measured raises `NotMeasuredError`; it is never zero.

    Attributes:
        spec_label: the engine, for a person.
        device: `cuda` or `cpu`; with `, served` behind it where the engine was driven over HTTP.
        profile: the kind of hardware, as the folder of its baselines.
        workload: the workload as stored with a baseline.
        environment: where it was measured.
        engines: what was measured on each engine start; at least one.
        problems: why the measurement is void; empty when it is sound.
        excluded: why an engine was left out; at most one is.
        gpus: how many GPUs an engine ran on.
        vram: where their memory went, on the last engine.
        traces: what NVML reported of them while the last engine was measured; empty on a CPU.
        made_with: how it was made, so that it can be made again; None where it cannot.
        reference: what each of its engines was measured in turns with; None for a measurement on its own.
        iterations: of each engine its measured iterations, request by request; not stored.
        reference_iterations: the same of each engine of the reference.
        rates: of each engine what a search for the highest rate came to; empty for any other measurement.
        unmeasured: metric -> why the machine does not let it be measured.
        kernel_traces: of each engine a trace of what its GPU did; empty where nobody asked for them.
        roofline: the limits that its GPUs set; None where they are not known.
        timelines: of each engine the memory of its GPUs over time; None where nobody knows.
    """

    spec_label: str
    device: str
    profile: str
    workload: Mapping[str, Any]
    environment: Environment
    engines: tuple[EngineSamples, ...]
    problems: tuple[Problem, ...] = ()
    excluded: tuple[Problem, ...] = ()
    gpus: int = 0
    vram: VramLedger | None = None
    traces: tuple[GpuTrace, ...] = ()
    made_with: object = field(default=None, repr=False, compare=False)
    reference: Reference | None = None
    iterations: tuple[tuple[RunResult, ...], ...] = field(default=(), repr=False, compare=False)
    reference_iterations: tuple[tuple[RunResult, ...], ...] = field(default=(), repr=False, compare=False)
    rates: tuple[FoundRate, ...] = field(default=(), repr=False)
    unmeasured: Mapping[str, str] = field(default_factory=dict, repr=False)
    kernel_traces: tuple[KernelTrace, ...] = field(default=(), repr=False, compare=False)
    roofline: RooflineLimits | None = field(default=None, repr=False)
    timelines: tuple[EngineTimeline | None, ...] = field(default=(), repr=False, compare=False)
    _read: set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    _promises: list[Slo] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def transient(self) -> bool:
        """Whether it is void only because of problems that another engine start may not have."""
        return bool(self.problems) and all(problem.transient for problem in self.problems)

    def cost_per_million_tokens(self, gpu_hour_price: float, metric: str = "output_throughput") -> float:
        """The cost of a million tokens, in the currency of the price.

        Args:
            gpu_hour_price: of one GPU for one hour.
            metric: whose tokens: `output_throughput` or `total_token_throughput`.

        Raises:
            NotMeasuredError: on a CPU, or when the throughput was not measured.
        """
        if not self.gpus:
            raise NotMeasuredError(f"{self.spec_label} did not run on a GPU, so it has no cost per GPU hour")
        return cost_per_million_tokens(self.value(metric), self.gpus, gpu_hour_price)

    def without(self, other: Measurement) -> Measurement:
        """This measurement, with another's engine left out and its reasons kept."""
        return replace(self, excluded=(*self.excluded, *other.problems))

    def with_engines_of(self, other: Measurement) -> Measurement:
        """This measurement and another of the same workload on the same spec, as one."""
        return replace(
            other,
            engines=self.engines + other.engines,
            iterations=self.iterations + other.iterations,
            reference_iterations=self.reference_iterations + other.reference_iterations,
            rates=self.rates + other.rates,
            kernel_traces=self.kernel_traces + other.kernel_traces,
            timelines=self.timelines + other.timelines,
            problems=tuple(dict.fromkeys([*self.problems, *other.problems])),
            excluded=self.excluded + other.excluded,
            environment=self.environment,
            reference=self.reference and other.reference and self.reference.with_engines_of(other.reference),
        )

    def assert_slo(
        self,
        *,
        ttft: float | None = None,
        tpot: float | None = None,
        e2e: float | None = None,
        goodput: float = 0.99,
    ) -> None:
        """Fail the test unless enough requests meet an SLO. A later `check` gates the goodput for that SLO.

        Args:
            ttft: maximum seconds until the first token.
            tpot: maximum seconds for each token after the first.
            e2e: maximum seconds until the last token.
            goodput: share of all requests that must meet all parts of the SLO; a failed request never does.

        Raises:
            SpecError: for an SLO without limits, or an invalid value.
            NotMeasuredError: for a measurement without requests.
            CheckFailed: if too few requests meet it, or the measurement is void.
        """
        __tracebackhide__ = True
        slo = promises.promise(ttft, tpot, e2e, goodput, streamed=self.workload.get("stream") is not False)
        results = [result for engine in self.iterations for result in engine]
        if not results:
            raise NotMeasuredError(f"{self.spec_label}: this measurement holds no requests to compare with an SLO")
        self._read.add("goodput")
        self._promises[:] = [slo]
        if self.problems:
            raise CheckFailed(f"INVALID  {self.spec_label}: {in_words(self.problems)}")
        if missed := promises.missed(results, slo, goodput):
            raise CheckFailed(f"{self.spec_label}: {missed}", verdict=True)

    @property
    def promised(self) -> Slo | None:
        """What `assert_slo` was asked last; None where it was not."""
        return self._promises[-1] if self._promises else None

    def look_anew(self, promised: Slo | None) -> None:
        """Forget that anybody looked, and what `assert_slo` was asked but for this: another test begins.

        Args:
            promised: what holds for all tests that share the measurement; None for nothing.
        """
        self._read.clear()
        self._promises[:] = [] if promised is None else [promised]

    @property
    def looked_at(self) -> bool:
        """Whether a test has read any value of it."""
        return bool(self._read)

    def samples(self, metric: str) -> Sequence[Sequence[float]]:
        """The values of a metric, for each engine one per iteration; empty when not measured.

        Raises:
            NotMeasuredError: when no metric has this name.
        """
        check_known(metric)
        return [values for engine in self.engines if (values := engine.values(metric))]

    def value(self, metric: str) -> float:
        """The metric's value: the median over engines of the median over iterations, in its unit.

        Raises:
            NotMeasuredError: when it was not measured on any engine, or no metric has this name.
        """
        engines = self.samples(metric)
        if not engines:
            why = self.no_device_pass if METRICS[metric].of_pass is not None else self.unmeasured.get(metric, "")
            raise self._not_measured(f"{METRICS[metric].label} was", why)
        self._read.add(metric)
        return stats.center(engines)

    @property
    def kernels(self) -> tuple[KernelTime, ...]:
        """What its GPUs spent an iteration on, the largest first: all ranks added, the mean over engines, seconds.

        The forty largest of each rank have names, see `metrics.kernel_names`. All others are together the last entry,
        where there are others.

        Raises:
            NotMeasuredError: when no engine had a device pass, with the reason.
        """
        self._read.add("kernels")
        sums = kernel_sums(self.engines)
        if not sums.engines:
            raise self._not_measured("kernels were", self.no_device_pass)
        return (*sums.named.values(), *([sums.rest] if sums.rest.times else []))

    @property
    def requests(self) -> Requests:
        """Its single requests, of all measured iterations of all engine starts.

        Raises:
            NotMeasuredError: where nothing is known of single requests, as of a search for the highest rate.
        """
        if not self.iterations:
            raise self._not_measured("single requests were", "")
        self._read.add("requests")
        return Requests.of([request_columns(results) for results in self.iterations])

    @property
    def no_device_pass(self) -> str:
        """Why no engine had a device pass; empty where one had, and where nobody knows."""
        return no_device_pass(self.engines)

    def _not_measured(self, what: str, reason: str) -> NotMeasuredError:
        return NotMeasuredError(f"{what} not measured on {self.spec_label}{f': {reason}' if reason else ''}")

    def __repr__(self) -> str:
        """One short line, as a failed assertion shows it."""
        label = self.spec_label
        if len(label) > _LONGEST_LABEL:
            label = f"{label[: _LONGEST_LABEL - 3]}..."
        engines = f"{len(self.engines)} engine{'' if len(self.engines) == 1 else 's'}"
        return f"<Measurement {label} on {self.profile}, {engines}: {'void' if self.problems else self._headline()}>"

    def _headline(self) -> str:
        """The first of the metrics that a gate looks at by default. A test that prints it has not read a value."""
        for name in CLOCK_METRICS:
            if engines := self.samples(name):
                return f"{METRICS[name].label} {METRICS[name].unit.text(stats.center(engines))}"
        return "no clock"

    if not TYPE_CHECKING:  # a type checker knows the attributes, and refuses what is none

        def __getattr__(self, name: str) -> NoReturn:
            """What is no attribute (AttributeError)."""
            hint = "" if name.startswith("_") else did_you_mean(name, dir(self)) or "; dir(run) lists its metrics"
            raise AttributeError(f"a measurement has no metric {name!r}{hint}")
