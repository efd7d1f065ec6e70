"""What a sweep came to, as text for a terminal, as data for a program, and its line of progress."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.sweep import Cliff, Figures, Findings, Knee
from pytest_vllmperf.report import points, units
from pytest_vllmperf.report.escaping import terminal_line
from pytest_vllmperf.report.names import WIDTH
from pytest_vllmperf.report.verdicts import folded

_NONE: Final = "-"


def lines(found: Findings, width: int = WIDTH) -> list[str]:
    """The findings for a terminal.

    Args:
        found: of a study.
        width: columns of a line.
    """
    width = max(width, WIDTH)
    head = f"{found.name}: {found.engine}, {units.many(len(found.figures), 'point')}"
    if found.missing:
        head += f", {found.missing:,} still to measure"
    return [
        *folded(terminal_line(head), width),
        "",
        *_table(found, width),
        "",
        *(part for text in said(found) for part in folded(terminal_line(text), width)),
    ]


def as_json(found: Findings) -> str:
    """The findings for a program, with all samples; throughput in tokens/s, times in seconds."""
    front = set(found.front)
    rows = [
        {
            **one.result.model_dump(mode="json"),
            "output_throughput": one.throughput,
            found.ttft: one.ttft,
            "tokens_per_second_per_user": one.per_user,
            "front": place in front,
            "preempting": one.result.preempting,
        }
        for place, one in enumerate(found.figures)
    ]
    document = {
        "study": found.name,
        "engine": found.engine,
        "missing": found.missing,
        "best": found.best,
        "near_best": found.near,
        "knees": [{**asdict(one), "decided": one.decided} for one in found.knees],
        "cliffs": [asdict(one) for one in found.cliffs],
        "points": rows,
    }
    return json.dumps(document, indent=1)


def progress(done: int, total: int, failed: int, left: float | None, doing: str) -> str:
    """One line about how far a sweep is.

    Args:
        done: finished points.
        total: all points.
        failed: of the finished ones.
        left: seconds until the end; None where that is unknown.
        doing: what is measured now; empty at the end.
    """
    parts = [f"{done:,} of {units.many(total, 'point')}"]
    if failed:
        parts.append(f"{failed:,} failed")
    if left is not None:
        parts.append(f"about {_duration(left)} left")
    return terminal_line(", ".join(parts) + (f": {doing}" if doing else ""))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _table(found: Findings, width: int) -> list[str]:
    rows = [cells(place, one, found) for place, one in enumerate(found.figures)]
    return points.table([one.result.settings for one in found.figures], heads(found), rows, width)


def heads(found: Findings) -> list[str]:
    """The heads of the columns of figures; the last one has words."""
    return ["tok/s", METRICS[found.ttft].label, "tok/s/user", ""]


def cells(place: int, one: Figures, found: Findings) -> list[str]:
    """The figures of a point as a row below `heads`."""
    words = [one.result.words] if one.result.words else []
    if place in found.front:
        words.insert(0, "front")
    if any({**knee.others, knee.axis: knee.load} == one.result.settings for knee in found.knees):
        words.insert(0, "knee")
    sound = one.result.sound
    return [
        f"{one.throughput:,.0f}" if sound and one.throughput is not None else _NONE,
        units.value(found.ttft, one.ttft) if sound and one.ttft is not None else _NONE,
        f"{one.per_user:,.1f}" if sound and one.per_user is not None else _NONE,
        ", ".join(words),
    ]


def said(found: Findings) -> list[str]:
    """All in words: best values, knees, cliffs, failures."""
    told = []
    if found.best:
        told.append(f"best by {METRICS[found.metric].label}: {points.settings(found.best)}")
    told += [
        f"{name}={points.shown(found.best[name])} was chosen by one engine of each value; within 3 % of it, and so not "
        f"decided: {', '.join(map(points.shown, others))}"
        for name, others in found.near.items()
    ]
    told += [_knee(one) for one in found.knees]
    told += [_cliff(one) for one in found.cliffs]
    failed: dict[str, int] = {}
    for one in found.figures:
        reason = one.result.detail if one.result.reason else "; ".join(map(str, one.result.problems))
        if reason:
            text = f"{one.result.reason or 'void'}: {reason}"
            failed[text] = failed.get(text, 0) + 1
    told += [f"{units.many(number, 'point')} {text}" for text, number in failed.items()]
    if found.front:
        told.append(
            f"front: no other point is better in output throughput, {METRICS[found.ttft].label} and tokens/s a user"
        )
    return told


def _knee(one: Knee) -> str:
    beyond = ", the largest load measured: it may lie beyond" if one.at_end else ""
    undecided = "" if one.decided else ", not decided"
    interval = f"{one.low:g}" if one.low == one.high else f"{one.low:g} to {one.high:g}"
    without = f"; without {one.axis}={', '.join(f'{load:g}' for load in one.without)}, where the point failed"
    missing = without if one.without else ""
    return f"knee{_where(one.others)}: {one.axis}={one.load:g} (95 %: {interval}{undecided}){beyond}{missing}"


def _cliff(one: Cliff) -> str:
    change = units.percent(one.ratio - 1)
    interval = units.percent_range(one.low - 1, one.high - 1)
    return f"cliff{_where(one.others)}: {one.axis} {one.before:g} -> {one.after:g}: throughput {change} {interval}"


def _where(others: Mapping[str, Any]) -> str:
    return f" at {points.settings(others)}" if others else ""
