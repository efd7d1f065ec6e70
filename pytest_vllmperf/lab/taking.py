"""Makes a measurement as its `Take` says: on one engine, or in turns with the same engine on another interpreter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.interpreter import look
from pytest_vllmperf.errors import ReferenceEngineError, SpecError
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.pair import Pair
from pytest_vllmperf.lab.promised import promised
from pytest_vllmperf.lab.recorded import recorded
from pytest_vllmperf.lab.sharing import share
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.reference import Reference

Answer = TypeVar("Answer")
_ANOTHER_WAY = (
    "Compare with the stored baseline instead (--vllmperf-against=off), or use an engine that both can run, for "
    "example one without the refused argument"
)


def in_turns(lab: Lab, take: Take, python: str) -> Take:
    """The same measurement, in turns with the same engine on another interpreter's vLLM, on the same devices.

    Args:
        lab: looks at the checkpoint, whose size decides how both share the device.
        take: of the new engine alone.
        python: absolute path of the reference interpreter.

    Raises:
        SpecError: for an interpreter that cannot be one, or an engine that no vLLM runs.
    """
    target = take.target
    if not target.backend.against:
        raise SpecError(
            f"--vllmperf-against: {target.backend.label} does not run vLLM in a local interpreter, so there is "
            f"no reference to measure. Mark the test with vllmperf(against='off') to compare it with its stored "
            f"baseline"
        )
    env = dict(target.spec.env)
    found = look("--vllmperf-against: ", python, env)
    reference = replace(target, spec=replace(target.spec, python=python), reference=True)
    targets = (target, reference)
    sharing = share(targets, lab.weight_bytes(targets), None)
    same = " (the same vLLM: an A/A run)" if found.same_as(target.spec.python, env) else ""
    return replace(take, target=sharing.targets[0], sharing=sharing, against=found.name + same)


def ask(lab: Lab, take: Take, use: Callable[[Engine], Answer]) -> Answer:
    """Do something else with the new engine of a measurement, started if need be; a reference beside it stays."""
    if take.sharing is None:
        return lab.ask(take.target, use)
    return Pair(lab, take.sharing, take.workload, take.settings, take.allowed).ask(0, use)


def measure(lab: Lab, take: Take, number: int = 1) -> Measurement:
    """Make a measurement with its device pass, on the engines that run; those that do not are started.

    See `measure_timed` for arguments and errors.
    """
    return profiled(lab, take, measure_timed(lab, take, number))


def profiled(lab: Lab, take: Take, run: Measurement) -> Measurement:
    """A measurement with a device pass of its last engine, and of the reference's, and with its custom metrics.

    The engine may be slower afterwards: what else is to be timed on it comes before.

    Args:
        lab: has the engines.
        take: how the measurement was made.
        run: the measurement.

    Raises:
        SpecError: where the function of a custom metric failed.
    """
    return recorded(_profiled(lab, take, run), take.recordings)


def _profiled(lab: Lab, take: Take, run: Measurement) -> Measurement:
    if take.search is not None:
        return run
    if take.sharing is None:
        return lab.profile(take.target, take.workload, take.settings, run, take.allowed)
    assert run.reference is not None
    reference = replace(run, engines=run.reference.engines, iterations=run.reference_iterations, problems=())
    pair = Pair(lab, take.sharing, take.workload, take.settings, take.allowed)
    own, other = pair.profile(run, reference)
    return replace(
        own,
        problems=(*own.problems, *_of_the_reference(other.problems)),
        kernel_traces=(*own.kernel_traces, *other.kernel_traces),
        reference=replace(run.reference, engines=other.engines),
    )


def _of_the_reference(problems: Iterable[Problem]) -> Iterator[Problem]:
    return (Problem(problem.rule, f"of the reference: {problem.words}") for problem in problems)


def measure_timed(lab: Lab, take: Take, number: int = 1) -> Measurement:
    """Make a measurement without its device pass.

    Args:
        lab: starts engines and measures.
        take: how.
        number: which round of its check this is, from 1.

    Raises:
        ReferenceEngineError: when the reference cannot do it; its reason, and what else could be compared.
        EngineError: when the engine does not start, or fails on the way.
        WorkloadError: when the workload does not fit it.
    """
    if take.search is not None:
        return lab.search(take)
    if take.sharing is None:
        run = lab.measure(take.target, take.workload, take.settings, take.allowed)
        return promised(run, take.slo)
    pair = Pair(lab, take.sharing, take.workload, take.settings, take.allowed)
    try:
        new, reference = pair.measure(number)
    except ReferenceEngineError as error:
        words = f"the reference, {take.against}, cannot run {take.target.spec.label}: {str(error).rstrip('.')}. "
        raise ReferenceEngineError(words + _ANOTHER_WAY, error.log_tail) from None
    both = replace(
        new,
        problems=(*new.problems, *_of_the_reference(reference.problems)),
        made_with=take,
        reference=Reference(take.against, take.sharing.described, reference.environment, reference.engines),
        reference_iterations=reference.iterations,
    )
    return promised(both, take.slo)
