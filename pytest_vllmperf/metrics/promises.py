"""Whether requests kept a promise: goodput, as vLLM and DistServe (Zhong et al., OSDI 2024) define it."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.metrics.units import seconds, share_percent
from pytest_vllmperf.records.run import RequestRecord, RunResult
from pytest_vllmperf.records.served import Slo


def tpot_of(one: RequestRecord) -> float | None:
    """Seconds for each token after the first; None for a request with a single token."""
    return (one.last_token_ts - one.first_token_ts) / (one.output_tokens - 1) if one.output_tokens > 1 else None


def keeps(one: RequestRecord, slo: Slo) -> bool:
    """Whether a request kept every part of a promise; one that failed kept none."""
    if one.finish_reason is None:
        return False
    tpot = tpot_of(one)
    took = (
        (one.first_token_ts - one.queued_ts, slo.ttft),
        (0.0 if tpot is None else tpot, slo.tpot),
        (one.last_token_ts - one.queued_ts, slo.e2e),
    )
    return all(most is None or seconds <= most for seconds, most in took)


def kept(result: RunResult, slo: Slo) -> int:
    """How many requests of an iteration kept a promise."""
    return sum(keeps(one, slo) for one in result.requests)


def goodput(result: RunResult, slo: Slo) -> float | None:
    """The share of all requests of an iteration, failed ones among them, that kept a promise; None without any."""
    return kept(result, slo) / len(result.requests) if result.requests else None


def promise(ttft: float | None, tpot: float | None, e2e: float | None, share: float, *, streamed: bool = True) -> Slo:
    """A promise as a test writes it.

    Args:
        ttft: see `Slo`.
        tpot: see `Slo`.
        e2e: see `Slo`.
        share: of requests that have to keep it.
        streamed: whether answers come token by token: one that comes whole has no TPOT.

    Raises:
        SpecError: for an SLO without limits, or an invalid value.
    """
    parts = {"ttft": ttft, "tpot": tpot, "e2e": e2e}
    for name, most in parts.items():
        if most is not None and not (_is_number(most) and 0 < most < float("inf")):
            raise SpecError(f"{name}={most!r} must be seconds above zero")
    if all(most is None for most in parts.values()):
        raise SpecError("an SLO needs at least one of ttft=, tpot= and e2e=, in seconds")
    if tpot is not None and not streamed:
        raise SpecError("tpot= needs streamed answers: without streaming, the time between tokens is unknown")
    if not (_is_number(share) and 0 < share <= 1):
        raise SpecError(f"goodput={share!r} must be above 0 and at most 1")
    return Slo(ttft, tpot, e2e)


def missed(results: Sequence[RunResult], slo: Slo, share: float) -> str:
    """Why too few requests kept a promise, with what was missed most; empty where enough did.

    Args:
        results: iterations; all their requests count alike.
        slo: the promise.
        share: of requests that have to keep it.
    """
    requests = [one for result in results for one in result.requests]
    good = sum(keeps(one, slo) for one in requests)
    if requests and good >= share * len(requests):
        return ""
    failed = sum(one.finish_reason is None for one in requests)
    parts = [
        f"{name} above {seconds(most)}: {_late(requests, Slo(**{name: most})):,}"
        for name, most in (("ttft", slo.ttft), ("tpot", slo.tpot), ("e2e", slo.e2e))
        if most is not None
    ]
    reached = share_percent(good / len(requests)) if requests else "none"
    return (
        f"goodput {reached} ({good:,} of {len(requests):,} requests met the SLO), required {share_percent(share)}; "
        f"{', '.join([*parts, f'failed: {failed:,}'])}"
    )


def _late(requests: Sequence[RequestRecord], slo: Slo) -> int:
    """How many requests were answered whole, but missed this part of the promise."""
    return sum(one.finish_reason is not None and not keeps(one, slo) for one in requests)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
