"""Figures by our own definitions, for reports that tell of each request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vllmperf import stats
from pytest_vllmperf.errors import ReportError

DISTRIBUTIONS = ("ttft", "tpot", "itl", "e2e")


@dataclass(frozen=True)
class Answered:
    """One request that was answered.

    Attributes:
        ttft: seconds until the first token; None without streaming.
        e2e: seconds until the end.
        tpot: seconds for each token after the first; None for a request of one token.
        gaps: seconds between two tokens, or chunks where tokens are not told apart.
    """

    ttft: float | None
    e2e: float | None
    tpot: float | None = None
    gaps: Sequence[float] = ()


def tpot(first: float, last: float, tokens: float | None) -> float | None:
    """Seconds for each token after the first: (last - first) / (tokens - 1).

    None for fewer than two tokens, and where all came at once: the time between them was not observed.

    Args:
        first: when the first token came, in seconds.
        last: when the last one came, on the same clock.
        tokens: of the answer; None where unknown.
    """
    return (last - first) / (tokens - 1) if tokens is not None and tokens > 1 and last != first else None


def totals(requests: int, prompts: float, outputs: float, seconds: float) -> dict[str, float]:
    """Counts and rates of a whole run, by the names of our metrics; no counts where tokens were not counted.

    Args:
        requests: that were answered.
        prompts: tokens of their prompts.
        outputs: tokens of their answers.
        seconds: from the first request's start to the last one's end.

    Raises:
        ReportError: for a time that is not above zero.
    """
    if seconds <= 0:
        raise ReportError("its requests ended before they began")
    found = {
        "prompt_tokens": prompts,
        "output_tokens": outputs,
        "request_throughput": requests / seconds,
        "output_throughput": outputs / seconds,
        "total_token_throughput": (prompts + outputs) / seconds,
    }
    return {name: value for name, value in found.items() if value}


def figures(requests: Sequence[Answered]) -> dict[str, float]:
    """Mean and percentiles of TTFT, TPOT, ITL and E2E, by the names of our metrics; nothing for what was not observed.

    Raises:
        ReportError: for a TTFT, TPOT or E2E latency that is not above zero.
    """
    observed = {
        "ttft": [one.ttft for one in requests if one.ttft is not None],
        "tpot": [one.tpot for one in requests if one.tpot is not None],
        "itl": [gap for one in requests for gap in one.gaps],
        "e2e": [one.e2e for one in requests if one.e2e is not None],
    }
    found: dict[str, float] = {}
    for name, values in observed.items():
        if not values:
            continue
        if min(values) <= 0 and name != "itl":
            raise ReportError(f"a request has a {name} of {min(values):g} s, which must be above 0")
        found |= {f"{name}.{point}": value for point, value in stats.summarize(values).items()}
    return found


def without_empty(found: dict[str, float]) -> dict[str, float]:
    """Figures without distributions that are all zeros: tools write these where nothing was observed."""
    empty = {
        name
        for name in DISTRIBUTIONS
        if not any(value for metric, value in found.items() if metric.startswith(f"{name}."))
    }
    return {metric: value for metric, value in found.items() if metric.partition(".")[0] not in empty}
