"""Scorecards: configurations of one model side by side, each measured by a test of its own. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vllmperf.comparing import quality
from pytest_vllmperf.comparing.ratios import ratio
from pytest_vllmperf.errors import SampleError
from pytest_vllmperf.metrics.cost import cost_per_million_tokens
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.problems import in_words
from pytest_vllmperf.records.ratio import Ratio
from pytest_vllmperf.records.scorecard import Line, Row, Scorecard
from pytest_vllmperf.verdict import compare
from pytest_vllmperf.verdict.priors import class_prior

SPEED = "output_throughput"
# Two engines whose device memory differs by less hold "the same", for all that their weights differ.
_SAME_MEMORY = 0.02


def scorecards(rows: Sequence[Row]) -> list[Scorecard]:
    """The cards that these rows make, in the order of their first rows."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.card, row.profile), []).append(row)
    return [_card(name, profile, group) for (name, profile), group in groups.items()]


def _card(name: str, profile: str, rows: Sequence[Row]) -> Scorecard:
    wanted = rows[0].baseline
    baseline = next((row for row in rows if row.configuration == wanted), None)
    lines = tuple(_line(row, baseline) for row in rows)
    notes = [f"{row.configuration} is void: {in_words(row.problems)}" for row in rows if row.problems]
    names = [row.configuration for row in rows]
    notes += [f"several rows have the name {name}" for name in dict.fromkeys(names) if names.count(name) > 1]
    if baseline is None:
        notes.append(f"{wanted}, the baseline of this scorecard, was not measured, so nothing is compared")
    if len({str(row.workload.get("key")) for row in rows}) > 1:
        notes.append("the rows were measured with different workloads, so their ratios are not comparable")
    if paradox := _paradox(rows):
        notes.append(paradox)
    return Scorecard(name, profile, wanted, lines, tuple(notes))


def _line(row: Row, baseline: Row | None) -> Line:
    if baseline is None or row is baseline or row.problems or baseline.problems:
        return Line(row, None, None, None, _cost(row))
    own, full = row.value("weight_bytes"), baseline.value("weight_bytes")
    outputs = row.outputs if len(row.outputs) == len(baseline.outputs) else ()
    return Line(
        row=row,
        speedup=_speedup(row, baseline),
        saved=1 - own / full if own and full else None,
        agreement=quality.greedy_agreement(outputs, baseline.outputs)
        if all((outputs, *outputs, *baseline.outputs))
        else None,
        cost=_cost(row),
    )


def _cost(row: Row) -> float | None:
    speed = row.value(SPEED)
    if row.problems or not speed or not row.gpus or row.gpu_hour_price is None:
        return None
    return cost_per_million_tokens(speed, row.gpus, row.gpu_hour_price)


def _speedup(row: Row, baseline: Row) -> Ratio | None:
    """Engines in the order of their starts take the place of rounds; drift between two tests is not cancelled.

    A row may rest on one engine, so that the class's prior says what engines vary by. Nobody looks again.
    """
    count = min(len(row.engines), len(baseline.engines))
    a, b = ([engine.values(SPEED) for engine in one.engines[:count]] for one in (row, baseline))
    try:
        return (
            ratio(compare(SPEED, METRICS[SPEED].better, a, b, prior=class_prior(METRICS[SPEED].kind), max_rounds=count))
            if all([*a, *b])
            else None
        )
    except SampleError:
        return None


def _paradox(rows: Sequence[Row]) -> str | None:
    """Why a smaller model uses as much device memory as a large one, where that is so."""
    known = [
        (row, weights, used)
        for row in rows
        if row.takes_the_rest
        and not row.problems
        and (weights := row.value("weight_bytes"))
        and (used := row.value("device_memory_used"))
    ]
    if len(known) < 2:
        return None
    small, large = min(known, key=lambda one: one[1]), max(known, key=lambda one: one[1])
    if small[1] > 0.8 * large[1] or abs(small[2] / large[2] - 1) > _SAME_MEMORY:
        return None
    grown = ""
    if (many := small[0].value("kv_cache_tokens")) and (few := large[0].value("kv_cache_tokens")):
        grown = f" Here it grew from {few:,.0f} to {many:,.0f} tokens, {many / few:.3g}x."
    return (
        f"{small[0].configuration} has {small[1] / large[1]:.0%} of the weights of {large[0].configuration} and "
        f"uses the same device memory, because vLLM gives the rest of gpu_memory_utilization to the KV cache. A "
        f"smaller model therefore leaves room for more KV cache tokens.{grown}"
    )
