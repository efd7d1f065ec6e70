"""`vllmperf.overload`: what a test asks for, and why it fails."""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.lab import overloading
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.observing import device_memory
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.overload import Overload, OverloadPlan
from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.verdict.overload import problems_of
from pytest_vllmperf.workload import Workload


def overload_plan(
    slo: Slo, factor: object, seconds: object, margin: object, recovery: object, operation_timeout: float
) -> OverloadPlan:
    """What is offered, and what has to hold, checked.

    Args:
        slo: the promise.
        factor: offered rate over capacity.
        seconds: for which it is offered.
        margin: tolerated relative loss.
        recovery: seconds for it.
        operation_timeout: seconds that one run of the client may take.

    Raises:
        SpecError: for a figure that is not valid.
    """
    factor = _above("factor", factor, 1.0, "a number above 1 (1 is the capacity itself)")
    seconds = _above("seconds", seconds, 0.0, "seconds above zero")
    recovery = _above("recovery", recovery, 0.0, "seconds above zero")
    if not _is_number(margin) or not 0 <= margin < 1:  # type: ignore[operator]
        raise SpecError(f"margin={margin!r} must be at least 0 and below 1")
    if seconds + recovery >= operation_timeout:
        raise SpecError(
            f"seconds={seconds:g} plus recovery={recovery:g} exceed the timeout of one operation, "
            f"{operation_timeout:g} s; raise --vllmperf-operation-timeout"
        )
    return OverloadPlan(slo, factor, seconds, float(margin), recovery)  # type: ignore[arg-type]


def overloaded(lab: Lab, target: Target, workload: Workload, plan: OverloadPlan) -> Overload:
    """Offer the load to an engine, started if need be.

    Raises:
        SpecError: for an engine that is not driven over HTTP.
        WorkloadError: when the workload does not fit it, or too few requests are offered to judge.
        EngineError: when the engine does not start, or fails on the way.
    """
    with lab.engines([target], timed=True) as (engine,):

        def vram() -> int | None:
            seen = device_memory(engine, () if engine.facts.on_cpu else target.gpus)
            return None if seen is None else seen.used if seen.engine is None else seen.engine

        return overloading.overload(
            engine, workload, plan, lab.settings.client_processes, lab.iteration_progress(target), vram
        )


def why_failed(nodeid: str, seen: Overload, plan: OverloadPlan, allowed: Collection[str]) -> str:
    """Why a test fails by what was seen, in one line; empty where it does not.

    Args:
        nodeid: the test's.
        seen: the overload.
        plan: what had to hold.
        allowed: validity rules that are turned off.
    """
    if seen.client and "client" not in allowed:
        return f"INVALID  {nodeid}: the load generator was the bottleneck in {'; in '.join(seen.client)}"
    problems = problems_of(seen, plan)
    if not problems:
        return ""
    load = (
        "overload"
        if seen.load is None
        else f"overload at {seen.offered:.3g} requests/s, {plan.factor:g} times the capacity"
    )
    return f"{nodeid}: {load}: {'; '.join(problems)}"


def _above(name: str, value: object, least: float, wanted: str) -> float:
    if not _is_number(value) or not isfinite(value) or value <= least:  # type: ignore[arg-type, operator]
        raise SpecError(f"{name}={value!r} must be {wanted}")
    return float(value)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
