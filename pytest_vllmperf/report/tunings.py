"""The result of a search for the highest goodput: a table, the recommendation, a marker to paste, and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from pytest_vllmperf.metrics.units import share_percent
from pytest_vllmperf.records.marker import marker, serve_command
from pytest_vllmperf.records.tuning import Best, Contender, Gain, Tried, Tuned
from pytest_vllmperf.report import points, units
from pytest_vllmperf.report.escaping import terminal_line
from pytest_vllmperf.report.names import WIDTH
from pytest_vllmperf.report.verdicts import folded

_NONE: Final = "-"
_NO_GAIN: Final = "no gain that can be distinguished from noise"
_HEADS: Final = ("requests/s", "met SLO", "TTFT p50", "engines", "")
_SLO_MISSED: Final = "SLO not met"


def lines(found: Tuned, width: int = WIDTH) -> list[str]:
    """The result for a terminal; the last lines can be pasted.

    Args:
        found: result of a search.
        width: columns of a line.
    """
    best = found.best
    said = [*_result(found), *(f"{units.many(number, 'point')} {text}" for text, number in found.failed)]
    return [
        *folded(terminal_line(_head(found)), width),
        "",
        *_table(found, max(width, WIDTH)),
        "",
        *(part for text in said for part in folded(terminal_line(text), width)),
        *([] if best is None else ["", marker(best.spec), serve_command(best.spec)]),
    ]


def as_json(found: Tuned) -> str:
    """The same for a program: goodput in requests/s, times in seconds."""
    best = found.best
    document = asdict(found)
    del document["best"]
    document["found"] = None
    if best is not None:
        document["found"] = {
            **{name: value for name, value in asdict(best).items() if name != "spec"},
            "gains": [{**asdict(one), "real": one.real} for one in best.gains],
            "marker": marker(best.spec),
            "command": serve_command(best.spec),
        }
    return json.dumps(document, indent=1)


def _head(found: Tuned) -> str:
    return (
        f"{found.name}: highest goodput at which {share_percent(found.share)} of requests meet the SLO "
        f"{found.slo.key}; tried {len(found.tried):,} of {units.many(found.engines + 1, 'engine')}, the default one "
        f"included: {units.many(found.points, 'point')}, {units.many(found.starts, 'start')}"
    )


def _table(found: Tuned, width: int) -> list[str]:
    """Points that were measured again come first. Then the best point of each other engine, measured once."""
    again = [one.settings for one in found.contenders]
    others = [one for one in found.tried if one.settings not in again]
    rows = [*(_again(one, found) for one in found.contenders), *map(_once, _sorted(others))]
    return points.table([*again, *(one.settings for one in _sorted(others))], _HEADS, rows, width)


def _sorted(tried: Sequence[Tried]) -> list[Tried]:
    return sorted(tried, key=lambda one: (not one.keeps, -(one.rate or 0.0)))


def _again(one: Contender, found: Tuned) -> list[str]:
    best = found.best
    words = "" if one.keeps else _SLO_MISSED
    if best is not None and one.settings == best.point.settings:
        words = "recommended"
    elif best is not None and one.settings in best.alike:
        words = "not distinguished"
    ttft = _NONE if one.ttft is None else units.seconds(one.ttft)
    return [f"{one.rate:.4g}", share_percent(one.share), ttft, f"{one.engines}", words]


def _once(one: Tried) -> list[str]:
    words = one.words or ("" if one.keeps else _SLO_MISSED)
    if one.rate is None or one.share is None:
        return [_NONE, _NONE, _NONE, _NONE, words]
    return [f"{one.rate:.4g}", share_percent(one.share), _NONE, "search", words]


def _result(found: Tuned) -> Iterator[str]:
    best = found.best
    if best is not None:
        yield from _recommended(best, found.share)
    elif found.nearest is None:
        yield "nothing could be measured: every point failed or was void"
    else:
        yield (
            f"no point meets the SLO; the nearest is {points.settings(found.nearest.settings)}: "
            f"{share_percent(found.nearest.share or 0.0)} of requests met it, {share_percent(found.share)} are needed"
        )


def _recommended(best: Best, share: float) -> Iterator[str]:
    point = best.point
    interval = "" if best.low is None else f" (95 %: {best.low:.4g} to {best.high:.4g})"
    what = (
        f"the default arguments at {points.settings(_load(point.settings))}"
        if best.default
        else points.settings(point.settings)
    )
    yield (
        f"recommended: {what}: {point.rate:.4g} requests/s{interval}; {share_percent(point.share)} of requests met "
        f"the SLO, on {units.many(point.engines, 'fresh engine')} that the search did not use"
    )
    if best.least_share is not None and best.least_share < share:
        yield _luck(point, best.least_share, share)
    if best.at_end:
        largest = points.settings(_load(point.settings))
        yield f"{largest} is the largest load that was tried; a larger one may have more goodput"
    if best.alike:
        rule = "it is the default" if best.default else "it has the lowest TTFT of them"
        state = "no other is better by more than 3 %" if best.decided else "not decided"
        others = "; ".join(map(points.settings, best.alike))
        yield f"recommended because {rule}; the goodput of these cannot be distinguished ({state}): {others}"
    if best.default:
        yield (
            "no gain: the default arguments are as good as any that was tried"
            if best.decided
            else f"{_NO_GAIN}; more --replicates can help"
        )
    yield from map(_gain, best.gains)


def _luck(point: Contender, least: float, share: float) -> str:
    met = f"{share_percent(point.share)} of {units.many(point.requests, 'request')} did"
    return (
        f"it is not certain that {share_percent(share)} of requests meet the SLO there: {met}, which shows "
        f"only that {share_percent(least)} do (95 % confidence). "
        "Send more --requests, or take the next smaller load"
    )


def _gain(one: Gain) -> str:
    where = f"the default arguments at {points.settings(_load(one.settings))}"
    if one.rate is None or one.share is None:
        return f"compared with {where}: not measured: {one.words}"
    kept = "" if one.keeps else f", where only {share_percent(one.share)} of requests meet the SLO"
    if one.ratio is None or one.low is None or one.high is None:
        return f"compared with {where}: {one.rate:.4g} requests/s{kept}; {one.words}"
    verdict = "gain" if one.real else "loss" if one.high < 1 else _NO_GAIN
    return (
        f"compared with {where} ({one.rate:.4g} requests/s{kept}): {verdict}: {units.percent(one.ratio - 1)} "
        f"{units.percent_range(one.low - 1, one.high - 1)}"
    )


def _load(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The last axis is the load."""
    name = list(settings)[-1]
    return {name: settings[name]}
