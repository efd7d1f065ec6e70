"""Whether a server stood an overload. Pure: what does not hold, a line each, with the figures that show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pytest_vllmperf.metrics.units import plain_percent, seconds, size
from pytest_vllmperf.records.overload import Counts, Overload, OverloadPlan, Recovery

MOST_VRAM_KEPT = 2**26
"""Bytes that an engine may hold more after an overload: what allocators keep in reserve."""
_WORDS = {
    "cut": "cut off",
    "error": "ended by an error",
    "malformed": "malformed",
    "stalled": "stalled",
    "deadline": "without an end",
    "empty": "empty",
    "short": "answers with too few tokens",
    "status": "another HTTP error",
    "redirect": "redirected",
    "sent": "broken while they were sent",
}


def problems_of(overload: Overload, plan: OverloadPlan) -> list[str]:
    """What does not hold; empty where the server stood it.

    Whether the load generator was the limit is not asked here: such a result counts neither way.

    Args:
        overload: what was seen.
        plan: what was offered, and what has to hold.
    """
    before = list(_before(overload, plan))
    load = overload.load
    if load is None:
        return before or ["no load was sent, because the capacity could not be measured"]
    return [
        *before,
        *_excess(overload, load),
        *_broken(load),
        *_goodput(overload, load, plan),
        *_refusals(overload, plan),
        *_recovery(overload.recovery, overload.unloaded_ttft, plan),
        *_memory(overload),
    ]


def _before(overload: Overload, plan: OverloadPlan) -> Iterator[str]:
    single, closed = overload.single, overload.closed
    if single.failed:
        yield (
            f"fails below capacity: {single.failed:,} of {single.due:,} requests sent one at a time were not "
            f"answered ({_kinds(single)})"
        )
    elif closed.failed:
        yield (
            f"fails at capacity: {closed.failed:,} of {closed.due:,} requests of a closed loop with "
            f"{overload.concurrency:,} in flight were not answered ({_kinds(closed)}); lower the workload's "
            f"concurrency, or leave it out"
        )
    elif closed.kept < (1 - plan.margin) * closed.due:
        yield (
            f"does not meet the SLO at capacity: {closed.kept:,} of {closed.due:,} requests met it, with "
            f"{overload.concurrency:,} in flight ({overload.capacity:.3g} requests/s); relax the SLO, or lower "
            f"the workload's concurrency"
        )


def _excess(overload: Overload, load: Counts) -> Iterator[str]:
    if load.due and load.kept == load.due:
        yield (
            f"was not overloaded: all {load.due:,} requests met the SLO, at {overload.offered:.3g} requests/s; "
            f"the capacity of {overload.capacity:.3g} requests/s, measured with {overload.concurrency:,} in flight, is "
            "too low: leave the workload's concurrency out, or raise factor= or seconds="
        )


def _broken(load: Counts) -> Iterator[str]:
    if load.broken:
        number = sum(load.broken.values())
        first = f"; the first: {load.example}" if load.example else ""
        kinds = _told(_broken_kinds(load))
        yield f"breaks requests: {number:,} of {load.due:,} were neither answered nor refused ({kinds}){first}"


def _goodput(overload: Overload, load: Counts, plan: OverloadPlan) -> Iterator[str]:
    wanted = (1 - plan.margin) * overload.goodput_at_capacity
    if overload.goodput_rate >= wanted:
        return
    # Of a load that is `factor` times the capacity, this share cannot be served.
    due_refusals = load.due * (1 - overload.capacity / overload.offered)
    turned_away = load.shed + load.refused
    if load.late and load.late >= turned_away - due_refusals:
        cause = f"queues for too long: {load.late:,} of {load.answered:,} answers missed the SLO{_ttfts(overload)}"
    elif turned_away > due_refusals:
        share = plain_percent(turned_away / load.due)
        cause = (
            f"sheds too much: {turned_away:,} of {load.due:,} requests ({share}) were refused, but only "
            f"{plain_percent(due_refusals / load.due)} exceed its capacity"
        )
    else:
        cause = "loses goodput"
    yield (
        f"{cause}; goodput {overload.goodput_rate:.3g} requests/s, required {wanted:.3g} "
        f"({overload.goodput_at_capacity:.3g} at capacity)"
    )


def _ttfts(overload: Overload) -> str:
    if overload.ttft_p50 is None or overload.ttft_p99 is None:
        return ""
    waiting = "" if overload.queue_max is None else f", {overload.queue_max:,.0f} of them waiting in the server"
    return (
        f" (TTFT p50 {seconds(overload.ttft_p50)}, p99 {seconds(overload.ttft_p99)}, up to "
        f"{overload.in_flight_max:,} in flight{waiting})"
    )


def _refusals(overload: Overload, plan: OverloadPlan) -> Iterator[str]:
    most = plan.slo.ttft if plan.slo.ttft is not None else plan.slo.e2e
    if most is not None and overload.shed_p99 is not None and overload.shed_p99 > most:
        yield (
            f"refuses late: refusals took {seconds(overload.shed_p99)} (p99), longer than the SLO of "
            f"{seconds(most)} for an answer"
        )


def _recovery(found: Recovery | None, unloaded: float | None, plan: OverloadPlan) -> Iterator[str]:
    if found is None or found.seconds is not None:
        return
    counts = found.counts
    start = f"does not recover within {seconds(plan.recovery)}"
    if counts.failed:
        yield (
            f"{start}: {counts.failed:,} of {counts.due:,} single requests afterwards were not answered "
            f"({_kinds(counts)})"
        )
    elif 2 * counts.kept <= counts.due:
        yield f"{start}: {counts.late:,} of {counts.due:,} single requests afterwards missed the SLO"
    else:
        now = "unknown" if found.ttft is None else seconds(found.ttft)
        was = "unknown" if unloaded is None else seconds(unloaded)
        yield f"{start}: TTFT {now} afterwards, {was} before (required: at most {seconds(found.most)})"


def _memory(overload: Overload) -> Iterator[str]:
    before, after = overload.vram_before, overload.vram_after
    if before is not None and after is not None and after - before > MOST_VRAM_KEPT:
        yield f"keeps {size(after - before)} of VRAM: {size(before)} before, {size(after)} after the recovery"


def _kinds(counts: Counts) -> str:
    """How requests failed, the most frequent first."""
    return _told({"shed with 429 or 503": counts.shed, "connection refused": counts.refused, **_broken_kinds(counts)})


def _broken_kinds(counts: Counts) -> dict[str, int]:
    return {_WORDS.get(kind, kind): number for kind, number in counts.broken.items()}


def _told(kinds: Mapping[str, int]) -> str:
    told = sorted((item for item in kinds.items() if item[1]), key=lambda item: -item[1])
    return ", ".join(f"{number:,} {words}" for words, number in told)
