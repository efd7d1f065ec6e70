"""One check or measurement on a page: its metrics, plots, kernels, memory and environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from pytest_vllmperf.metrics.kernel_sums import kernel_sums
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.check_report import CheckReport, EnvironmentReport, MeasurementReport, MetricReport
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report import kernels, limits, units
from pytest_vllmperf.report.attributions import attribution_lines, device_parts
from pytest_vllmperf.report.failed import changed_lines
from pytest_vllmperf.report.judged import metric_verdict, verdict
from pytest_vllmperf.report.ledger import capacity, ledger_rows
from pytest_vllmperf.report.pages import wording
from pytest_vllmperf.report.pages.deciding import change, detects, interval_head
from pytest_vllmperf.report.pages.forest import forest
from pytest_vllmperf.report.pages.markup import Column, Content, Html, facts, joined, more, paragraphs, table, tag
from pytest_vllmperf.report.pages.plots import kernels as kernel_plots
from pytest_vllmperf.report.pages.plots import requests as request_plots
from pytest_vllmperf.report.pages.plots.latencies import over_time, ttft_distribution
from pytest_vllmperf.report.pages.plots.memory import ledger_bar, timeline
from pytest_vllmperf.report.pages.plots.rooflines import missing as missing_of_roofline
from pytest_vllmperf.report.pages.plots.rooflines import roofline
from pytest_vllmperf.report.pages.plots.strips import strip
from pytest_vllmperf.report.pages.shell import Sheet
from pytest_vllmperf.verdict.attribution import slower

_UNWRAPPED: Final = 10_000
"""Columns of a line that a page wraps by itself."""
_STATISTICS: Final = ("mean", "p50", "p90", "p95", "p99")
"""Of distributions, as metrics end in them."""
_HIDDEN: Final = ("key",)
"""Parts of a workload that say nothing to a person."""


def measured(sheet: Sheet, found: MeasurementReport) -> Html:
    """All that is known of a measurement; of a check, its verdict too.

    Args:
        sheet: takes the plots.
        found: the check or measurement.
    """
    check = found if isinstance(found, CheckReport) else None
    judged = [] if check is None else [_verdict(check), _strips(sheet, check)]
    return joined(
        _head(found),
        *judged,
        _latencies(sheet, found),
        _kernels(sheet, found),
        _memory(sheet, found),
        _environment(found),
        more(f"All {len(found.metrics):,} metrics", _every(found)),
    )


def _head(found: MeasurementReport) -> Html:
    check = found if isinstance(found, CheckReport) else None
    first = found.engines[0] if found.engines else None
    starts = units.many(len(found.engines), "engine start")
    left_out = "; ".join(map(str, found.excluded))
    pairs: list[tuple[str, Content]] = [
        ("engine", tag("span", found.engine, class_="mono")),
        ("workload", _workload(found.workload)),
        ("hardware", found.profile),
        (
            "measured",
            f"{wording.moment(found.measured)}, {starts}"
            + (f" x {units.many(first.iterations, 'iteration')}" if first else ""),
        ),
        ("void", "; ".join(map(str, found.problems))),
        ("left out", f"one engine start: {left_out}" if left_out else None),
    ]
    if check is not None:
        reference = check.reference
        pairs += [
            ("in turns with", None if reference is None else f"{reference.name}, {reference.way}"),
            ("baseline", _baseline(check)),
            ("why", "; ".join(check.reasons)),
            ("not appended", check.left_out),
            ("reason", check.reason),
        ]
    return joined(facts(pairs), *(tag("p", one, class_="note small") for one in (check.notes if check else ())))


def _baseline(check: CheckReport) -> str:
    """What it was judged by, and what becomes of its own session."""
    sessions = () if check.baseline is None else check.baseline.sessions
    told = []
    if sessions:
        told.append(
            f"{units.many(len(sessions), 'session')}, {sessions[0].recorded[:10]} to {sessions[-1].recorded[:10]}"
        )
    if check.keeping != "nothing":
        told.append(f"this session {check.keeping}")
    return "; ".join(told)


def _workload(workload: Mapping[str, Any]) -> str:
    """A workload as it is stored, in a line; what is not set is left out."""
    parts = {name: value for name, value in workload.items() if name not in _HIDDEN and value not in (None, "", 0, 0.0)}
    kind = str(parts.pop("kind", ""))
    return ", ".join(
        [*([kind] if kind else []), *(f"{name.replace('_', ' ')} {_brief(value)}" for name, value in parts.items())]
    )


def _brief(value: object, most: int = 60) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _verdict(check: CheckReport) -> Html:
    """The judged metrics, the failing ones first, why they are slower, and what differs in the environment."""
    judged = [one for one in check.metrics.values() if one.judged is not None]
    ordered = sorted(judged, key=lambda one: (not one.gated, _severity(one)))
    told, rest = [one for one in ordered if not _folded(one)], [one for one in ordered if _folded(one)]
    folded = (
        f"{units.many(len(rest), 'exact metric')} unchanged: {', '.join(one.label for one in rest)}" if rest else ""
    )
    parts: list[Html] = []
    if told:
        parts.append(_judged_table(check, told))
    if folded:
        parts.append(tag("p", folded, class_="small muted"))
    parts += [_limits(check), _cause(check), _by_baseline(check)]
    return joined(*parts)


def _severity(one: MetricReport) -> int:
    order = list(Status)
    return -order.index(one.judged.status) if one.judged is not None else 0


def _folded(one: MetricReport) -> bool:
    """Whether a gated metric has nothing to tell: it is exact, and what it was."""
    return one.judged is not None and one.gated and one.kind == "exact" and one.judged.status is Status.OK


def _judged_table(check: CheckReport, metrics: Iterable[MetricReport]) -> Html:
    columns = [
        Column("verdict", "w"),
        Column("metric"),
        Column("reference" if check.reference is not None else "baseline", "n"),
        Column("now", "n"),
        Column(f"change [{interval_head([check])}]", "n"),
        Column(""),
        Column("margin", "n"),
        Column("detects", "n"),
        Column(""),
    ]
    return table(columns, [_judged_row(check, one) for one in metrics])


def _judged_row(check: CheckReport, metric: MetricReport) -> list[Content]:
    judged = metric.judged
    assert judged is not None, "only judged metrics have a row"
    one = metric_verdict(metric.name, judged)
    return [
        wording.status_badge(judged.status) if metric.gated else wording.badge("not gated", "none"),
        metric.label,
        wording.value(metric, judged.baseline),
        wording.value(metric, judged.now),
        change(one),
        forest(one, decides=metric.gated),
        wording.margin_words(metric),
        detects(check, metric.name),
        tag("span", judged.reason, class_="small muted") if judged.reason else None,
    ]


def _limits(check: CheckReport) -> Html:
    """Absolute limits, each with what it is held against."""
    found = [one for one in check.limits if one.metric in METRICS]
    rows = [[wording.status_badge(one.status), limits.value_words(one), limits.limit_words(one)] for one in found]
    return table([Column("limit", "w"), Column("now"), Column("allowed", "n")], rows) if rows else Html()


def _cause(check: CheckReport) -> Html:
    """Where the time went, and what changed since the baseline."""
    against = "reference" if check.reference is not None else "baseline"
    found, judged = check.attribution, verdict(check)
    lines: list[str] = []
    if found is not None and (regressed := slower(judged.metrics)):
        lines += attribution_lines(found, regressed, against=against, width=_UNWRAPPED)
    elif found is not None:
        lines += device_parts(found, against)
    if check.metrics and (judged.metrics or check.changed):
        lines += changed_lines(check.changed, against, _UNWRAPPED)
    return tag("div", paragraphs(line.strip() for line in lines), class_="note") if lines else Html()


def _by_baseline(check: CheckReport) -> Html:
    """What the stored baseline says of a check that its reference judges."""
    found = check.by_baseline
    if found is None:
        return Html()
    reasons = f": {'; '.join(found.reasons)}" if found.reasons else ""
    head = tag(
        "p", "The stored baseline, which does not decide here, says ", wording.status_badge(found.status), reasons
    )
    rows = [
        [one.status.value, check.metrics[name].label, change(metric_verdict(name, one))]
        for name, one in found.metrics.items()
        if name in check.metrics
    ]
    return joined(
        head, table([Column("verdict", "w"), Column("metric"), Column("change", "n")], rows) if rows else None
    )


def _strips(sheet: Sheet, check: CheckReport) -> Html:
    """A plot for each metric that noise moves, and for exact ones that changed."""
    chosen = [one for one in check.metrics.values() if one.judged is not None and not _folded(one)]
    chosen.sort(key=lambda one: (not one.gated, _severity(one)))
    plots = sheet.put(*(strip(check, one) for one in chosen))
    if not plots:
        return Html()
    before = "the reference" if check.reference is not None else "stored engine starts by session"
    key = f"Grey: {before}. Diamonds: engine starts now, with their iterations. Line: the baseline. Field: the margin."
    return joined(tag("h3", "Against the baseline"), tag("p", key, class_="muted small"), plots)


def _latencies(sheet: Sheet, found: MeasurementReport) -> Html:
    single = found.requests
    plots = sheet.put(
        ttft_distribution(found),
        request_plots.distributions(single),
        *over_time(found),
        *request_plots.over_time(single),
        roofline(found),
    )
    if not plots:
        return Html()
    key = "Over iterations and time each engine start has its colour; dashed: the baseline."
    lacking = missing_of_roofline(found)
    told = tag("p", f"No roofline: not known is {lacking}.", class_="small muted") if lacking else None
    return joined(tag("h3", "Requests and iterations"), tag("p", key, class_="muted small"), plots, told)


def _kernels(sheet: Sheet, found: MeasurementReport) -> Html:
    """Kernels now, beside those of what the check is judged by where these are known."""
    compared = found.attribution if isinstance(found, CheckReport) else None
    if compared is not None and compared.kernels:
        plot = sheet.put(kernel_plots.compared(compared))
        heads: Sequence[str] = kernels.COMPARISON_HEADS
        rows = kernels.comparison_rows(compared)
        notes = kernels.notes(compared, _UNWRAPPED)
    else:
        sums = kernel_sums(found.engines)
        if not sums.engines:
            return _no_kernels(found)
        plot = sheet.put(kernel_plots.alone(sums))
        heads, rows, notes = kernels.TABLE_HEADS, kernels.table_rows(sums), []
    columns = [Column(head, "n" if at else "kernel") for at, head in enumerate(heads)]
    return joined(
        tag("h3", "GPU time"),
        plot,
        more(f"Table of kernels ({len(rows) - 1})", table(columns, rows)),
        paragraphs(notes, "small"),
    )


def _no_kernels(found: MeasurementReport) -> Html:
    """Why there is no device pass, where somebody asked for one."""
    reasons = dict.fromkeys(one.no_device_pass for one in found.engines if one.no_device_pass)
    return paragraphs((f"GPU time was not measured: {one}" for one in reasons), "small muted")


def _memory(sheet: Sheet, found: MeasurementReport) -> Html:
    ledger = found.ledger
    if ledger is None:
        plot = sheet.put(timeline(found.engines))
        return joined(tag("h3", "Memory"), plot) if plot else Html()
    plot = sheet.put(ledger_bar(ledger), timeline(found.engines))
    known = [(name, units.size(held)) for name, held in ledger_rows(ledger) if held is not None]
    if not plot and not known:
        return Html()
    untold = [name for name, held in ledger_rows(ledger) if held is None]
    missing = f"Not measured: {', '.join(untold)}" if untold else ""
    text = tag("p", ". ".join(filter(None, (capacity(ledger), missing))), class_="small muted")
    rows = table([Column("use"), Column("size", "n")], known)
    return joined(tag("h3", "Memory"), plot, text, more("Table of the memory", rows))


def _environment(found: MeasurementReport) -> Html:
    """Where it was measured, with the baseline's values where they differ."""
    check = found if isinstance(found, CheckReport) else None
    before = None if check is None else _compared_with(check)
    rows = list(_environment_rows(found.environment, before))
    if not rows:
        return Html()
    changed = sum(1 for row in rows if row[3])
    told = f", {changed} changed" if changed else ""
    heads = [Column("", "w"), Column("before"), Column("now"), Column("", "w")]
    return more(f"Environment ({len(rows)} values{told})", table(heads, rows))


def _compared_with(check: CheckReport) -> EnvironmentReport | None:
    if check.reference is not None:
        return check.reference.environment
    return None if check.baseline is None else check.baseline.environment


def _environment_rows(now: EnvironmentReport, before: EnvironmentReport | None) -> Iterator[list[Content]]:
    """Differences first; what did not change has no value before."""
    values = {**now.hard, **now.soft}
    old = {} if before is None else {**before.hard, **before.soft}
    names = list(dict.fromkeys([*values, *old]))
    for name in sorted(names, key=lambda one: (not old or old.get(one) == values.get(one), names.index(one))):
        same = not old or old.get(name) == values.get(name)
        mark = None if same else wording.badge("changed", "warn")
        yield [name, None if same else _brief(old.get(name, "-"), 200), _brief(values.get(name, "-"), 200), mark]
    if now.variables:
        yield ["environment variables of the engine", None, ", ".join(now.variables), None]


def _every(found: MeasurementReport) -> Html:
    """All metrics with their values; distributions with a row for each."""
    families: dict[str, dict[str, MetricReport]] = {}
    single = []
    for name, one in found.metrics.items():
        family, _, statistic = name.rpartition(".")
        if family and statistic in _STATISTICS:
            families.setdefault(family, {})[statistic] = one
        else:
            single.append(one)
    spread = [[_family(of), *(_of_family(of, statistic) for statistic in _STATISTICS)] for of in families.values()]
    rows = [[one.label, wording.value(one, one.value), "gated" if one.gated else None] for one in single]
    return joined(
        table([Column("distribution"), *(Column(one, "n") for one in _STATISTICS)], spread) if spread else None,
        table([Column("metric"), Column("value", "n"), Column("")], rows) if rows else None,
    )


def _family(of: Mapping[str, MetricReport]) -> str:
    """What a distribution is called."""
    statistic, one = next(iter(of.items()))
    return one.label.removesuffix(f" {statistic}")


def _of_family(of: Mapping[str, MetricReport], statistic: str) -> str:
    one = of.get(statistic)
    return "" if one is None else wording.value(one, one.value)
