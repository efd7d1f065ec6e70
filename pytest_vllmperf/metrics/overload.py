"""What an overloaded server did, in figures: pure functions over the requests of its phases."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from pytest_vllmperf.metrics.promises import keeps
from pytest_vllmperf.records.answers import Answer
from pytest_vllmperf.records.overload import Counts, Recovery
from pytest_vllmperf.records.run import RequestRecord, RunResult
from pytest_vllmperf.records.served import Slo

_NS = 1e-9
_FINEST_S = 0.002
"""What a TTFT may rise by in any case: what the load generator itself promises."""
_LAST_PROBES = 3
_FEWEST_PROBES = 2
"""Requests in a row that show a recovery: a single one may be luck."""
SHORT = "short"


def is_short(one: RequestRecord, asked: Mapping[int, int]) -> bool:
    """Whether an answer ended with fewer tokens than were asked for.

    Args:
        one: a request.
        asked: tokens by the request's index; empty where the server may end earlier.
    """
    tokens = None if one.answer is None else one.answer.output_tokens
    return one.finish_reason is not None and tokens is not None and tokens < asked.get(one.index, 0)


def complete(one: RequestRecord, asked: Mapping[int, int]) -> bool:
    """Whether a request was answered to its end."""
    return one.finish_reason is not None and not is_short(one, asked)


def failure_of(one: RequestRecord, asked: Mapping[int, int]) -> str:
    """How a request failed; empty for a complete answer."""
    if complete(one, asked):
        return ""
    if is_short(one, asked):
        return SHORT
    return (one.answer.failure if one.answer is not None else "") or "empty"


def counts(records: Sequence[RequestRecord], slo: Slo, asked: Mapping[int, int]) -> Counts:
    """What became of the requests of one phase."""
    broken: dict[str, int] = {}
    found = {"answered": 0, "kept": 0, "shed": 0, "refused": 0}
    example = ""
    for one in records:
        failure = failure_of(one, asked)
        if not failure:
            found["answered"] += 1
            found["kept"] += keeps(one, slo)
        elif failure in ("shed", "connect"):
            found["shed" if failure == "shed" else "refused"] += 1
        else:
            broken[failure] = broken.get(failure, 0) + 1
            example = example or (one.answer.detail if one.answer is not None else "")
    return Counts(len(records), **found, broken=broken, example=example)


def ttft_of(one: RequestRecord) -> float:
    """Seconds from when a request was due until its first token."""
    return one.first_token_ts - one.queued_ts


def rate_within(records: Collection[RequestRecord], window: tuple[float, float], lead: float, tokens: float) -> float:
    """Requests/s of work that a server did within a window, in requests of a given length.

    A request counts with the share of its work that lies in the window, so that neither those which are half done at an
    end of it nor those which only wait count for more than was done; and with its length, so that phases whose requests
    happen to be longer or shorter can be compared. Its work is taken to begin `lead` before its first token.

    Args:
        records: complete answers.
        window: begin and end, seconds on the client's clock.
        lead: seconds until the first token of a request that does not wait.
        tokens: output tokens of a request that counts as one.
    """
    begin, end = window
    if end <= begin:
        return 0.0
    done = 0.0
    for one in records:
        start, over = max(_sent(one.answer, one.queued_ts), one.first_token_ts - lead), one.last_token_ts
        inside = max(0.0, min(over, end) - max(start, begin))
        share = inside / (over - start) if over > start else float(begin <= over <= end)
        done += share * one.output_tokens
    return done / tokens / (end - begin)


def mean_tokens(records: Collection[RequestRecord]) -> float:
    """Mean output tokens of answers; 1 without any."""
    return sum(one.output_tokens for one in records) / len(records) if records else 1.0


def full_window(
    in_flight: Sequence[tuple[int, int]], concurrency: int, span: tuple[float, float], longest: float
) -> tuple[float, float]:
    """From when as many requests were in flight as the server takes at capacity, until the end of the offered load.

    It begins no later than filling may take, and never after the middle of the span: else the window of a server that
    refuses everybody for a while would begin when that is over.

    Args:
        in_flight: (nanoseconds, requests in flight) at each change.
        concurrency: in flight at capacity.
        span: of the offered load, seconds on the client's clock.
        longest: seconds that filling may take.
    """
    begin, end = span
    latest = begin + min(longest, (end - begin) / 2)
    full = next((at * _NS for at, count in in_flight if count >= concurrency), latest)
    return min(max(full, begin), latest), end


def closed_window(result: RunResult) -> tuple[float, float]:
    """The window in which a closed loop was full, seconds on the client's clock; its whole span without one."""
    steady = result.served.steady if result.served is not None else None
    return steady or result.span


def percentile(values: Sequence[float], percent: float) -> float | None:
    """By linear interpolation; None without values."""
    return float(np.percentile(np.asarray(values, dtype=float), percent)) if values else None


def as_before(unloaded: Sequence[float], margin: float) -> float:
    """The TTFT up to which a server is as it was, seconds.

    That is the median of before and the margin, but no less than what the slowest tenth of before reached.

    Args:
        unloaded: TTFTs of requests that were sent one at a time; at least one.
        margin: relative.
    """
    median = float(np.median(unloaded))
    return max(median * (1 + margin), median + _FINEST_S, float(np.percentile(unloaded, 90)))


def recovery(probes: Sequence[RequestRecord], slo: Slo, asked: Mapping[int, int], end: float, most: float) -> Recovery:
    """When a server was as before: from which probe on all are answered, with the TTFT of before.

    The first of them has that TTFT itself, and so has the median of all from it on; most of them keep the promise. One
    slow probe is no relapse, one without an answer is.

    Args:
        probes: single requests after the offered load, in order.
        slo: the promise.
        asked: tokens by index; empty where the server may end earlier.
        end: of the offered load, seconds on the client's clock.
        most: of `as_before`.
    """
    seconds = None
    for place in range(len(probes) - _FEWEST_PROBES + 1):
        rest = probes[place:]
        if not all(complete(one, asked) for one in rest):
            continue
        ttfts, kept = [ttft_of(one) for one in rest], sum(keeps(one, slo) for one in rest)
        if ttfts[0] <= most and float(np.median(ttfts)) <= most and 2 * kept > len(rest):
            seconds = max(0.0, rest[0].queued_ts - end)
            break
    last = [ttft_of(one) for one in probes[-_LAST_PROBES:] if complete(one, asked)]
    return Recovery(counts(probes, slo, asked), seconds, percentile(last, 50), most)


def _sent(answer: Answer | None, due: float) -> float:
    return due if answer is None or answer.sent_ns is None else answer.sent_ns * _NS
