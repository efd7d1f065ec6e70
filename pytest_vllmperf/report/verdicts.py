"""Verdicts in words: one line per metric, wrapped at 80 columns where it has to be."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.verdict import Drift, MetricVerdict, Outlook, Status
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
    if judged.drift is not None:
        return _drifted(judged, judged.drift, gated=gated)
    parts = [_head(judged, gated=gated)]
    if judged.status is Status.NOISY and gated:
        parts += _way_out(judged, requests)
    elif judged.against:
        parts.append(f"{_engines(judged)} x {judged.iterations} in turns")
        if judged.noise is not None:
            parts.append(f"noise: engine {units.plain_percent(judged.noise.engine_sd)}")
    elif judged.noise is not None:
        noise, percent = judged.noise, units.plain_percent
        sessions = "session" if noise.sessions == 1 else "sessions"
        each = f"{judged.iterations} requests" if judged.paired else str(judged.iterations)
        parts.append(f"{_engines(judged)} x {each} against {noise.engines} in {noise.sessions} {sessions}")
        parts.append(f"noise: session {percent(noise.session_sd)}, engine {percent(noise.engine_sd)}")
    elif judged.engines:
        parts.append(_engines(judged))
    if judged.noise is not None and judged.noise.multimodal:
        parts.append("the stored engines fall into groups")
    return [*parts, judged.reason] if judged.reason else parts


def _drifted(judged: MetricVerdict, drift: Drift, *, gated: bool) -> list[str]:
    """A level that crept away: no single session was a regression, so the line tells of all of them."""
    words = [judged.status.value if gated else "not gated", METRICS[judged.metric].label, units.percent(drift.change)]
    words.append(f"since the update of {drift.since[:10]}, over {units.many(drift.sessions, 'session')}, none of which")
    level = units.pair(judged.metric, judged.baseline, judged.now)
    limit = f"margin {units.margin(judged.margin)}"
    return [" ".join([*words, "was a regression"]), level, *([limit] if gated else [])]


def _head(judged: MetricVerdict, *, gated: bool) -> str:
    words = [judged.status.value if gated else "not gated", METRICS[judged.metric].label]
    words.append(units.pair(judged.metric, judged.baseline, judged.now))
    if judged.change is not None:
        # Request by request: the medians beside it may have moved otherwise.
        words.append(f" {'by request ' if judged.paired else ''}{units.percent(judged.change)}")
    limits = [f"margin {units.margin(judged.margin)}"] if gated else []
    if METRICS[judged.metric].exact and not judged.margin:
        limits = ["exact"] if gated else []
    if judged.low is not None and judged.high is not None and judged.confidence is not None:
        words.append(units.percent_range(judged.low, judged.high))
        limits.insert(0, f"{judged.confidence * 100:.4g} % CI")
    if limits:
        words.append(f"({', '.join(limits)})")
    return " ".join(words)


def _way_out(judged: MetricVerdict, requests: int) -> list[str]:
    """What a NOISY metric needs."""
    parts = [f"after {_engines(judged)}"]
    if judged.noise is None:
        return parts
    parts.append(f"detectable here from {units.plain_percent(judged.noise.detectable)}")
    if judged.against:
        parts.append("try more rounds (--vllmperf-max-engines)")
    elif METRICS[judged.metric].decides_from and requests:
        parts.append(f"try compare() or {2 * requests:,} requests")
    else:
        parts.append("try compare() or more sessions (--vllmperf-append)")
    return parts


def _engines(judged: MetricVerdict) -> str:
    if judged.against:
        return units.many(judged.engines, "round")
    return f"{judged.engines} engine" if judged.engines == 1 else f"{judged.engines} engines"


def outlook_lines(checks: Sequence[tuple[str, Sequence[Outlook]]], width: int = WIDTH) -> list[str]:
    """The smallest slowdowns that baselines detect, and which margins they cannot test yet.

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
    lines.insert(0, "smallest slowdowns that these baselines detect (four times in five):")
    if any(not one.noise.testable for _, outlook in checks for one in outlook):
        lines.append("  * the margin cannot be told from noise yet")
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
    share = f"{gated} metrics are gated in this run, so each needs more evidence." if gated > 1 else ""
    ends = [min(outlook, key=_detectable), max(outlook, key=_detectable)]
    found = [f"{units.plain_percent(_detectable(one))} ({METRICS[one.metric].label})" for one in ends]
    written = f"The baselines written now detect a slowdown of {' to '.join(dict.fromkeys(found))}."
    return folded(" ".join(text for text in (share, written, *_lacking(outlook)) if text), width)


def _detectable(one: Outlook) -> float:
    return one.noise.detectable


def _lacking(outlook: Sequence[Outlook]) -> Iterator[str]:
    """When margins can be told from noise that cannot be yet; and which never can, so that nobody waits for them."""
    young = [one for one in outlook if not one.noise.testable]
    if growing := [one for one in young if one.noise.sessions_to_test is not None]:
        needed = max(one.noise.sessions_to_test or 0 for one in growing)
        yield f"{_margins(growing)} can be told from noise after {needed} sessions (--vllmperf-append)."
    if never := [one for one in young if one.noise.sessions_to_test is None]:
        labels = ", ".join(dict.fromkeys(METRICS[one.metric].label for one in never))
        remedy = f"widen it for {labels} (--vllmperf-margin)"
        yield f"{_margins(never)} cannot be told from noise by more sessions: {remedy}."


def _margins(outlook: Sequence[Outlook]) -> str:
    margins = sorted({one.margin for one in outlook})
    if len(margins) == 1:
        return f"The margin of {units.margin(margins[0])}"
    return f"The margin ({units.margin(margins[0])} to {units.margin(margins[-1])})"


def _found(one: Outlook) -> str:
    return units.plain_percent(one.noise.detectable) + ("" if one.noise.testable else " *")


def quality_lines(own: str, reference: str, prompts: int, shortfalls: Sequence[str]) -> str:
    """An engine that does not say the same as the reference."""
    head = folded(f"QUALITY {own} against {reference}, {units.many(prompts, 'prompt')}:")
    return "\n".join([*head, *(f"{_INDENT}{one}" for one in shortfalls)])


def template_line(own: str, reference: str, number: int, difference: str) -> str:
    """A chat that two tokenizers render differently."""
    head = folded(f"CHAT_TEMPLATE {own} is not that of {reference}")
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
    parts = [f"{head} ({found.confidence * 100:.4g} % CI, {rounds})", f"wanted at least {claim.ratio:.4g}x", way]
    if claim.outcome is ClaimOutcome.INCONCLUSIVE:
        needed = claim.rounds_to_decide
        parts.append(f"some {needed} rounds would decide (--vllmperf-max-engines)" if needed else
                     "no number of rounds would decide: the claim is what was measured")  # fmt: skip
    return "\n".join(wrapped(parts))
