"""A server under more load than it can serve, on a page."""

from __future__ import annotations

from pytest_vllmperf.metrics.units import count, seconds, size
from pytest_vllmperf.records.overload import Counts, Overload
from pytest_vllmperf.records.results import OverloadRecord
from pytest_vllmperf.report.pages import wording
from pytest_vllmperf.report.pages.markup import Column, Content, Html, facts, paragraphs, table, tag
from pytest_vllmperf.report.pages.plots.overloads import outcomes, rates
from pytest_vllmperf.report.pages.shell import Sheet


def overload(sheet: Sheet, found: OverloadRecord) -> Html:
    """What the server made of it.

    Args:
        sheet: takes the plots.
        found: what the overload came to.
    """
    verdict = wording.badge("FAILED", "bad") if found.problem else wording.badge("PASSED", "ok")
    problem = tag("p", found.problem, class_="bad") if found.problem else None
    rows = [[name, *_cells(counts)] for name, counts in phases(found.seen)]
    heads = ("due", "answered", "within the SLO", "shed", "refused", "broken")
    return tag(
        "div",
        tag("h3", verdict, " Overload"),
        problem,
        facts(_facts(found)),
        sheet.put(outcomes(phases(found.seen)), rates(found.seen)),
        table([Column("phase"), *(Column(head, "n") for head in heads)], rows),
        paragraphs((*found.seen.client, *found.seen.notes), "small muted"),
        class_="check",
    )


def phases(seen: Overload) -> list[tuple[str, Counts]]:
    """The phases that took place, in order, with what became of their requests."""
    found = [("one at a time", seen.single), ("closed loop", seen.closed)]
    if seen.load is not None:
        found.append(("overload", seen.load))
    if seen.recovery is not None:
        found.append(("recovery", seen.recovery.counts))
    return found


def _cells(counts: Counts) -> list[Content]:
    broken = sum(counts.broken.values())
    return [f"{one:,}" for one in (counts.due, counts.answered, counts.kept, counts.shed, counts.refused, broken)]


def _facts(found: OverloadRecord) -> list[tuple[str, Content]]:
    seen, recovery = found.seen, found.seen.recovery
    levels = [(name, level) for name, level in (("p50", seen.ttft_p50), ("p99", seen.ttft_p99)) if level is not None]
    under = ", ".join(f"{name} {seconds(level)}" for name, level in levels)
    pairs: list[tuple[str, Content]] = [
        ("engine", tag("span", found.engine, class_="mono")),
        ("offered", f"{count(seen.offered)} req/s for {seen.seconds:g} s; capacity {count(seen.capacity)} req/s with "
                    f"{seen.concurrency:,} in flight"),
        ("TTFT under overload", under),
        ("TTFT unloaded", None if seen.unloaded_ttft is None else seconds(seen.unloaded_ttft)),
        ("most in flight", f"{seen.in_flight_max:,}" if seen.in_flight_max else None),
        ("most waiting in the server", None if seen.queue_max is None else f"{seen.queue_max:,.0f}"),
    ]  # fmt: skip
    if recovery is not None:
        back = "not within the time" if recovery.seconds is None else f"after {recovery.seconds:.2g} s"
        pairs.append(("as before", back))
    if seen.vram_before is not None and seen.vram_after is not None:
        pairs.append(("memory", f"{size(seen.vram_before)} before, {size(seen.vram_after)} after"))
    return pairs
