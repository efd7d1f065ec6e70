"""What voids a measurement: the engine did other work than was asked for, or its device was not itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from pytest_vllmperf.metrics.gpu_use import (
    NEIGHBOUR_SHARE,
    POWER_BRAKE,
    THERMAL,
    clock_event_names,
    neighbours,
    newcomers,
)
from pytest_vllmperf.records.devices import GpuTrace, GpuUse, Occupants, Span
from pytest_vllmperf.records.problems import RULES, Problem
from pytest_vllmperf.records.run import EngineRun, RequestRecord, RunResult
from pytest_vllmperf.validity import client, quantization

CLOCK_SPREAD = 0.10
"""How far the SM clock may lie apart between iterations: (highest - lowest) / median of their medians."""

_WHOLE = ("length", "stop", "tool_calls")
"""How a request may end that gave all that it was to give."""
_NEIGHBOUR = 'end it, or accept it with allow="processes"'


@dataclass(frozen=True)
class Expected:
    """What the workload makes of every request.

    Attributes:
        exact_length: each gives as many tokens as it asked for.
        fresh_prompts: no two prompts begin alike, so that the prefix cache holds nothing of them.
    """

    exact_length: bool = False
    fresh_prompts: bool = False


@dataclass(frozen=True)
class Observed:
    """What was seen of the devices meanwhile.

    Attributes:
        traces: one for each device; empty where nobody looked.
        uses: what they did in each measured iteration.
        occupants: who may be on a device, by its UUID; none by that name where nobody knows.
    """

    traces: Sequence[GpuTrace] = ()
    uses: Sequence[GpuUse | None] = ()
    occupants: Mapping[str, Occupants] = field(default_factory=dict)


def problems(
    run: EngineRun, expected: Expected, observed: Observed | None = None, allowed: Collection[str] = ()
) -> tuple[Problem, ...]:
    """Why the measured iterations cannot be judged: each reason once, with the first evidence for it.

    Args:
        run: what the engine did.
        expected: what the workload makes of requests.
        observed: what was seen of its devices; None where there are none.
        allowed: names of rules that are turned off.

    Returns:
        Reasons in the order of `RULES`; empty for a sound measurement.
    """
    found: dict[str, Problem] = {}
    for problem in (
        *_of_engine(run),
        *_of_requests(run, expected),
        *_of_iterations(run, expected),
        *_of_devices(run, observed or Observed()),
    ):
        if problem.rule not in allowed:
            found.setdefault(problem.rule, problem)
    return tuple(sorted(found.values(), key=lambda problem: RULES.index(problem.rule)))


def _of_engine(run: EngineRun) -> Iterator[Problem]:
    if run.facts.weights is not None and (reason := quantization.mismatch(run.facts.weights)):
        yield Problem("quantization", reason)
    held, wanted = run.facts.kv_bytes_per_token, run.facts.expected_kv_bytes_per_token
    if held is not None and wanted is not None and round(held) != wanted:
        yield Problem(
            "kv-cache", f"a token takes {held:,.0f} bytes of the KV cache, but its configuration asks for {wanted:,}"
        )


def _of_requests(run: EngineRun, expected: Expected) -> Iterator[Problem]:
    wanted = {request.index: request.output_tokens for request in run.requests}
    for number, result in enumerate(run.iterations, start=1):
        yield from _of_served(number, result)
        for request in result.requests:
            rule, words = _ending(request, wanted[request.index] if expected.exact_length else None)
            if words:
                yield Problem(rule, f"{words} (request {request.index} of iteration {number})")


def _ending(request: RequestRecord, wanted: int | None) -> tuple[str, str]:
    """The rule that a request breaks, and how; no words for a sound one."""
    if request.finish_reason is None:
        return "failed", "a request did not finish"
    if request.finish_reason not in _WHOLE:
        return "failed", f"a request ended with {request.finish_reason!r}"
    if wanted is not None and request.output_tokens != wanted:
        return "length", f"a request returned {request.output_tokens} output tokens instead of {wanted}"
    return "", ""


def _of_served(number: int, result: RunResult) -> Iterator[Problem]:
    """What only a client sees: failures by kind, tokens that nobody counted, and whether the client was the limit."""
    served = result.served
    if served is None:
        return
    if served.failures:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(served.failures.items()))
        first = next(answer for answer in served.answers if answer.failure)
        yield Problem(
            "failed",
            f"{sum(served.failures.values())} of {len(served.answers)} requests failed in iteration {number} "
            f"({kinds}); request {first.index}: {first.detail or first.failure}",
        )
    if any(answer.output_tokens is None for answer in served.answers if not answer.failure):
        yield Problem(
            "usage",
            f"in iteration {number} the server did not report how many tokens it generated, so chunks were "
            f"counted instead",
        )
    sent = sum(answer.sent_ns is not None for answer in served.answers)
    if served.server is not None and (finished := served.server.finished or 0) > sent:
        yield Problem(
            "processes",
            f"the server finished {finished:,.0f} requests in iteration {number}, of which this run sent {sent:,}: it "
            f"has another client; {_NEIGHBOUR}",
        )
    if limit := client.limit(served):
        yield Problem("client", f"the load generator was the bottleneck in iteration {number}: {limit}")


def _of_iterations(run: EngineRun, expected: Expected) -> Iterator[Problem]:
    for number, result in enumerate(run.iterations, start=1):
        yield from _of_iteration(number, result, expected)


def _of_iteration(number: int, result: RunResult, expected: Expected) -> Iterator[Problem]:
    where = f"in iteration {number}"
    if result.preemptions:
        yield Problem(
            "preemptions",
            f"{_many(result.preemptions, 'preemption')} {where}: the KV cache is too small for this workload; "
            f'enlarge it, lower the load, or accept it with allow="preemptions"',
        )
    if expected.fresh_prompts and result.prefix_cache_hit_tokens:
        yield Problem(
            "prefix-hits",
            f"the prefix cache gave {_many(result.prefix_cache_hit_tokens, 'prompt token')} {where}, although "
            f"no two prompts have a common beginning",
        )
    if result.kernels_compiled:
        yield Problem("compilation", f"the engine compiled {_many(result.kernels_compiled, 'kernel')} {where}")


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _of_devices(run: EngineRun, observed: Observed) -> Iterator[Problem]:
    for trace in observed.traces:
        if trace.lost is not None:
            yield Problem("lost", trace.lost)
    for number, use in enumerate(observed.uses, start=1):
        names = clock_event_names(use.clock_events, {**THERMAL, **POWER_BRAKE}) if use is not None else []
        if use is not None and names:
            warm = "" if use.temperature is None else f" at {use.temperature:.0f} °C"
            yield Problem("throttling", f"the GPU slowed its clocks in iteration {number}: {', '.join(names)}{warm}")
    yield from _of_clocks([use.sm_clock for use in observed.uses if use is not None and use.sm_clock is not None])
    yield from _of_processes(run, observed)


def _of_clocks(clocks: Sequence[float]) -> Iterator[Problem]:
    if not clocks:
        return
    low, high = min(clocks), max(clocks)
    if (high - low) / median(clocks) > CLOCK_SPREAD:
        yield Problem("clocks", f"the SM clock went from {low / 1e6:.0f} to {high / 1e6:.0f} MHz between iterations")


def _of_processes(run: EngineRun, observed: Observed) -> Iterator[Problem]:
    spans = [span for result in run.iterations if (span := result.span)[1] > span[0]]
    if not spans:
        return
    whole = (min(begin for begin, _ in spans), max(end for _, end in spans))
    for trace in observed.traces:
        occupants = observed.occupants.get(trace.uuid, Occupants())
        belonging = None if occupants.before is None else {*occupants.before, *occupants.own}
        for pid, held in newcomers(trace, whole, belonging).items():
            size = "" if held is None else f" with {held / 2**20:,.0f} MiB"
            yield Problem("processes", f"process {pid} started using the GPU{size} during this run")
        yield from _of_neighbours(trace, whole, occupants)


def _of_neighbours(trace: GpuTrace, span: Span, occupants: Occupants) -> Iterator[Problem]:
    """Who else computed on a device: by process where that is told, else what was done on it before."""
    found = neighbours(trace, span, occupants.own)
    if found is None:
        before = occupants.utilization
        if before is not None and before >= NEIGHBOUR_SHARE:
            yield Problem(
                "processes",
                f"another run's process kept the GPU {before:.0%} busy before the engine was started; {_NEIGHBOUR}",
            )
        return
    for pid, share in found.items():
        if share >= NEIGHBOUR_SHARE:
            yield Problem(
                "processes",
                f"process {pid} of another run used {share:.0%} of the GPU's time; {_NEIGHBOUR}",
            )
