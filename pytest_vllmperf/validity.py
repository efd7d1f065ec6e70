"""What voids a measurement: the engine did other work than was asked for, or held other weights."""

from __future__ import annotations

from pytest_vllmperf import quantization
from pytest_vllmperf.measure import EngineRun
from pytest_vllmperf.metrics.records import RequestRecord


def problems(run: EngineRun, *, exact_length: bool) -> tuple[str, ...]:
    """Why the counted iterations cannot be judged: each reason once, with the first evidence for it.

    Args:
        run: what the engine did.
        exact_length: whether every request had to give as many tokens as it asked for.

    Returns:
        Reasons in words; empty for a sound measurement.
    """
    found: dict[str, str] = {}
    if run.facts.weights is not None and (reason := quantization.mismatch(run.facts.weights)):
        found["weights"] = reason
    wanted = {request.index: request.output_tokens for request in run.requests}
    for number, result in enumerate(run.iterations, start=1):
        for request in result.requests:
            problem = _problem(request, wanted[request.index] if exact_length else None)
            if problem is not None:
                kind, words = problem
                found.setdefault(kind, f"{words} (request {request.index} of iteration {number})")
    return tuple(found.values())


def _problem(request: RequestRecord, wanted: int | None) -> tuple[str, str] | None:
    if request.finish_reason is None:
        return "failed", "a request did not finish"
    if request.finish_reason not in ("length", "stop"):
        return "aborted", f"a request ended with {request.finish_reason!r}"
    if wanted is not None and request.output_tokens != wanted:
        return "length", f"a request gave {request.output_tokens} output tokens where {wanted} were asked for"
    return None
