"""Single requests of measured iterations as columns, by the definitions of the metrics."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

from pytest_vllmperf.metrics.table import AllMetrics
from pytest_vllmperf.records.requests import RequestColumns, Seconds
from pytest_vllmperf.records.run import RequestRecord, RunResult

_DIGITS = 6
_SEED = 17
_LONGEST_ERROR = 200


def request_columns(iterations: Sequence[RunResult], most: int | None = None) -> RequestColumns:
    """The requests of one engine start.

    Args:
        iterations: its measured ones, in order.
        most: how many requests are kept, at least one; of more than that one is drawn from each of so many runs of
            equal length. A constant step would meet the same requests of every iteration. None for all.
    """
    every = [(number, one) for number, result in enumerate(iterations, 1) for one in result.requests]
    began = [_began(result) for result in iterations]
    chosen = [every[row] for row in _chosen(len(every), most)]
    sound = [one if one.finish_reason is not None else None for _, one in chosen]
    return RequestColumns(
        iteration=tuple(number for number, _ in chosen),
        index=tuple(one.index for _, one in chosen),
        started=_rounded([one.queued_ts - began[at - 1] if _was_queued(one) else None for at, one in chosen]),
        ttft=_of(AllMetrics.ttft.of_request, sound),
        tpot=_of(AllMetrics.tpot.of_request, sound),
        e2e=_of(AllMetrics.e2e.of_request, sound),
        prompt_tokens=tuple(None if one is None else one.prompt_tokens or None for one in sound),
        output_tokens=tuple(None if one is None else one.output_tokens for one in sound),
        errors={row: _why(one) for row, (_, one) in enumerate(chosen) if one.finish_reason is None},
        left_out=len(every) - len(chosen),
    )


def _chosen(count: int, most: int | None) -> Sequence[int]:
    """Which rows are kept, rising; the same for the same numbers."""
    if most is None or count <= most:
        return range(count)
    drawn = random.Random(_SEED)  # noqa: S311 - to choose, not for secrets
    edges = [count * part // most for part in range(most + 1)]
    return [drawn.randrange(begin, end) for begin, end in pairwise(edges)]


def _was_queued(one: RequestRecord) -> bool:
    """Whether it is known when it was queued: over HTTP always, in process of what finished."""
    return one.answer is not None or one.finish_reason is not None


def _began(result: RunResult) -> float:
    return min((one.queued_ts for one in result.requests if _was_queued(one)), default=0.0)


def _of(definition: Callable[[RequestRecord], float | None] | None, sound: Sequence[RequestRecord | None]) -> Seconds:
    """One figure of each request; zero is what cannot be told, as the TPOT of an answer that came whole."""
    assert definition is not None
    return _rounded([None if one is None else definition(one) or None for one in sound])


def _rounded(values: Sequence[float | None]) -> Seconds:
    return tuple(None if value is None else round(value, _DIGITS) for value in values)


def _why(one: RequestRecord) -> str:
    """Why a request failed: its kind of failure and what happened."""
    if one.answer is None:
        return "not finished"
    words = [one.answer.failure or "not finished", one.answer.detail]
    return ": ".join(filter(None, words))[:_LONGEST_ERROR]
