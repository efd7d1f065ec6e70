"""Verdicts in words: one line per metric, wrapped at 80 columns where it has to be."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.verdict import Drift, MetricVerdict, Noise, Outlook, Status
from pytest_vllmperf.report import units
from pytest_vllmperf.report.names import WIDTH
from pytest_vllmperf.verdict import Claim, ClaimOutcome, Comparison

_INDENT = "    "


def metric_lines(judged: MetricVerdict, *, gated: bool = True, requests: int = 0, width: int = WIDTH) -> list[str]:
    """One judged metric, on one line, or broken between its parts where that is wider than `width`.

    Args:
        judged: the metric.
        gated: whether it decides.
        requests: of the workload; 0 where unknown.
        width: in characters.
    """
    return wrapped(_parts(judged, gated=gated, requests=requests), width=width)


def wrapped(parts: Sequence[str], indent: str = _INDENT, width: int = WIDTH) -> list[str]:
    """Parts joined by a middle dot, on as many lines as they need; continuation lines are indented."""
    first, bracket, rest = parts[0].rpartition(" (")
    lines = [first, f"{indent}({rest}"] if len(parts[0]) > width and bracket else folded(parts[0], width, indent)
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" · {part}"
        else:
            lines.append(f"{indent}{part}")
    return lines


def beyond_margin(judged: MetricVerdict) -> str:
    """Why a metric keeps its session out of the baseline: `output throughput +18.0 % is beyond the margin of 5 %`."""
    label, margin = METRICS[judged.metric].label, units.margin(judged.margin)
    return f"{label} {units.percent(judged.change)} is beyond the margin of {margin}"


def folded(text: str, width: int = WIDTH, indent: str = _INDENT) -> list[str]:
    """A line broken at spaces where it is wider than `width`; what has no spaces stays whole."""
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _parts(judged: MetricVerdict, *, gated: bool, requests: int) -> list[str]:
    """What a line says, the most important first: the change, what is tolerated, and what both rest on."""
    if judged.drift is not None:
        return _drifted(judged, judged.drift, gated=gated)
    parts = [_head(judged, gated=gated)]
    if judged.change is not None:
        parts.append(units.pair(judged.metric, judged.baseline, judged.now))
    undecided = judged.status is Status.NOISY and gated
    parts += [] if undecided else _rests_on(judged)
    if judged.low is not None and judged.confidence is not None:
        parts.append(f"{confidence(judged.confidence)} CI")
    if undecided:
        parts += way_out(judged, requests)
    elif judged.noise is not None:
        parts.append(_noise(judged, judged.noise))
    if judged.noise is not None and judged.noise.multimodal:
        parts.append("the stored engine starts form separate groups")
    return [*parts, judged.reason] if judged.reason else parts


def _rests_on(judged: MetricVerdict) -> list[str]:
    """How much was measured, and against how much."""
    if judged.against:
        return [f"{_starts(judged)} x {units.many(judged.iterations, 'iteration')} in turns"]
    if judged.noise is not None and METRICS[judged.metric].once:
        return [f"{units.many(judged.iterations, 'value')} against {units.many(judged.noise.sessions, 'session')}"]
    if judged.noise is not None:
        each = units.many(judged.iterations, "request" if judged.paired else "iteration")
        stored = f"{judged.noise.engines} in {units.many(judged.noise.sessions, 'session')}"
        return [f"{_starts(judged)} x {each} against {stored}"]
    return [_starts(judged)] if judged.engines else []


def _noise(judged: MetricVerdict, noise: Noise) -> str:
    starts = f"{units.plain_percent(noise.engine_sd)} between engine starts"
    return f"noise: {starts}" if judged.against else (
        f"noise: {units.plain_percent(noise.session_sd)} between sessions, {starts}"
    )  # fmt: skip


def _drifted(judged: MetricVerdict, drift: Drift, *, gated: bool) -> list[str]:
    """A level that crept away: no single session was a regression, so the line tells of all of them."""
    words = [judged.status.value if gated else "not gated", METRICS[judged.metric].label, units.percent(drift.change)]
    words.append(f"since the update of {drift.since[:10]}")
    limit = f", margin {units.margin(judged.margin)}" if gated else ""
    level = units.pair(judged.metric, judged.baseline, judged.now)
    sessions = f"over {units.many(drift.sessions, 'session')}, none of which was a regression by itself"
    return [" ".join(words) + limit, level, sessions]


def _head(judged: MetricVerdict, *, gated: bool) -> str:
    words = [judged.status.value if gated else "not gated", METRICS[judged.metric].label]
    # Request by request: the medians may have moved otherwise.
    by_request = "by request " if judged.paired else ""
    change = f"{by_request}{change_words(judged)}" if judged.change is not None else ""
    words.append(change or units.pair(judged.metric, judged.baseline, judged.now))
    limit = limit_words(judged) if gated else ""
    return " ".join(words) + (f", {limit}" if limit else "")


def change_words(judged: MetricVerdict) -> str:
    """A change with its interval, where it has one: `-8.8 % [-11.2, -6.1]`; empty where there is no change to tell."""
    if judged.drift is not None:
        return units.percent(judged.drift.change)
    if judged.low is None or judged.high is None:
        return units.percent(judged.change)
    return f"{units.percent(judged.change)} {units.percent_range(judged.low, judged.high)}"


def moved_words(judged: MetricVerdict) -> str:
    """The same for a table: `unchanged` where both sides are equal and no noise is in them."""
    same = judged.now is not None and judged.now == judged.baseline and judged.low is None
    return "unchanged" if same else change_words(judged)


def limit_words(judged: MetricVerdict) -> str:
    """What a metric may lose: `margin 5 %`, or `exact` where any difference counts."""
    exact = METRICS[judged.metric].exact and not judged.margin
    return "exact" if exact else f"margin {units.margin(judged.margin)}"


def confidence(of: float) -> str:
    """The confidence of an interval: `99 %`."""
    return f"{of * 100:.4g} %"


def way_out(judged: MetricVerdict, requests: int) -> list[str]:
    """What a NOISY metric needs.

    Args:
        judged: the metric.
        requests: of the workload; 0 where unknown.
    """
    parts = [f"after {_starts(judged)}"]
    if judged.noise is None:
        return parts
    parts.append(f"smallest slowdown detected: {units.plain_percent(judged.noise.detectable)}")
    return [*parts, remedy(judged, requests)]


def remedy(judged: MetricVerdict, requests: int) -> str:
    """What to do about a NOISY metric."""
    if judged.against:
        return "allow more rounds (--vllmperf-max-engines)"
    if METRICS[judged.metric].decides_from and requests:
        return f"use compare(), or send {2 * requests:,} requests"
    if METRICS[judged.metric].custom:
        return "add sessions (--vllmperf-append)"
    return "use compare(), or add sessions (--vllmperf-append)"


def _starts(judged: MetricVerdict) -> str:
    return units.many(judged.engines, "round" if judged.against else "engine start")


def outlook_lines(checks: Sequence[tuple[str, Sequence[Outlook]]], width: int = WIDTH) -> list[str]:
    """The smallest slowdown that baselines detect, by metric.

    Args:
        checks: names and gated metrics; a check whose metrics are all exact has none, and is left out.
        width: columns of a line.
    """
    lines: list[str] = []
    for name, outlook in checks:
        found = [f"{METRICS[one.metric].label} {_found(one)}" for one in outlook]
        if found:
            lines += [f"  {name}:", *(f"{_INDENT}{line}" for line in wrapped(found, "", width - len(_INDENT)))]
    if not lines:
        return []
    lines.insert(0, "Smallest slowdown that each baseline detects (80 % of the time):")
    if any(not one.noise.testable for _, outlook in checks for one in outlook):
        lines.append("  * noise is still larger than the margin")
    return lines


def suite_lines(outlook: Sequence[Outlook], gated: int, width: int = WIDTH) -> list[str]:
    """What the baselines of a run will be able to tell together, and what they lack, in plain words.

    Args:
        outlook: all metrics of all checks that were recorded; nothing is said without any.
        gated: how many metrics the run gates, those included whose baseline stayed as it was.
        width: columns of a line.
    """
    if not outlook:
        return []
    ends = [min(outlook, key=_detectable), max(outlook, key=_detectable)]
    found = [f"{units.plain_percent(_detectable(one))} ({METRICS[one.metric].label})" for one in ends]
    smallest = f"Smallest slowdown these baselines detect (80 % of the time): {' to '.join(dict.fromkeys(found))}."
    share = f"This run gates {gated} metrics; the more it gates, the more evidence each needs." if gated > 1 else ""
    return folded(" ".join(text for text in (smallest, share, *_lacking(outlook)) if text), width)


def _detectable(one: Outlook) -> float:
    return one.noise.detectable


def _lacking(outlook: Sequence[Outlook]) -> Iterator[str]:
    """How many sessions a baseline needs to test its margin; and where none suffice, so that nobody waits."""
    young = [one for one in outlook if not one.noise.testable]
    if growing := [one for one in young if one.noise.sessions_to_test is not None]:
        needed = max(one.noise.sessions_to_test or 0 for one in growing)
        which = f" of {_labels(growing)}" if len(growing) < len(young) else ""
        yield f"To test {_margins(growing)}{which} they need {needed} sessions; add some with --vllmperf-append."
    if never := [one for one in young if one.noise.sessions_to_test is None]:
        yield (
            f"No number of sessions is enough to test {_margins(never)} of {_labels(never)}: "
            "widen it (--vllmperf-margin)."
        )


def _labels(outlook: Sequence[Outlook]) -> str:
    return ", ".join(dict.fromkeys(METRICS[one.metric].label for one in outlook))


def _margins(outlook: Sequence[Outlook]) -> str:
    margins = sorted({one.margin for one in outlook})
    if len(margins) == 1:
        return f"the margin of {units.margin(margins[0])}"
    return f"the margin ({units.margin(margins[0])} to {units.margin(margins[-1])})"


def _found(one: Outlook) -> str:
    return units.plain_percent(one.noise.detectable) + ("" if one.noise.testable else " *")


def quality_lines(own: str, reference: str, prompts: int, shortfalls: Sequence[str]) -> str:
    """An engine that does not say the same as the reference."""
    head = folded(f"QUALITY {own} against {reference}, {units.many(prompts, 'prompt')}:")
    return "\n".join([*head, *(f"{_INDENT}{one}" for one in shortfalls)])


def template_line(own: str, reference: str, number: int, difference: str) -> str:
    """A chat that two tokenizers render differently."""
    head = folded(f"CHAT_TEMPLATE {own} differs from that of {reference}")
    return "\n".join([*head, *(f"{_INDENT}{line}" for line in folded(f"chat {number}: {difference}"))])


def claim_line(found: Comparison, claim: Claim, a: float, b: float, way: str) -> str:
    """An assertion about two engines that was not shown.

    Args:
        found: their ratio.
        claim: what was asserted, refuted or inconclusive.
        a: the first engine's value of the metric, in its unit of the table.
        b: the reference's value.
        way: how the two shared the device.
    """
    rounds = units.many(found.rounds, "round")
    head = f"{claim.outcome.value} {METRICS[found.metric].label} {units.value(found.metric, a)} against "
    head += f"{units.value(found.metric, b)}: {found.ratio:.3g}x [{found.low:.3g}, {found.high:.3g}]"
    parts = [f"{head} ({found.confidence * 100:.4g} % CI, {rounds})", f"required: at least {claim.ratio:.4g}x", way]
    if claim.outcome is ClaimOutcome.INCONCLUSIVE:
        needed = claim.rounds_to_decide
        parts.append(f"about {needed} rounds would decide it (--vllmperf-max-engines)" if needed else
                     "no number of rounds would decide it: the measured ratio equals the required one")  # fmt: skip
    return "\n".join(wrapped(parts))
