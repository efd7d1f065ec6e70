"""What a page says of verdicts and outcomes, in the words of the terminal, and the tone in which it says it."""

from __future__ import annotations

from typing import Final, Literal

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.metrics.units import count
from pytest_vllmperf.records.check_report import MetricReport
from pytest_vllmperf.records.report import TestOutcome
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report import units
from pytest_vllmperf.report.judged import metric_verdict
from pytest_vllmperf.report.pages.deciding import change
from pytest_vllmperf.report.pages.markup import Html, tag
from pytest_vllmperf.report.verdicts import limit_words

Tone = Literal["ok", "info", "warn", "bad", "none"]

_TONES: Final[dict[Status, Tone]] = {
    Status.OK: "ok",
    Status.RECORDED: "info",
    Status.IMPROVED: "info",
    Status.NOISY: "warn",
    Status.UNDECIDED: "warn",
}
"""Of all others: bad."""
_OUTCOMES: Final[dict[TestOutcome, Tone]] = {
    "passed": "ok",
    "skipped": "none",
    "xfailed": "none",
    "xpassed": "warn",
    "not run": "warn",
}
"""Of all others: bad."""


def tone(status: Status) -> Tone:
    """How good a verdict is."""
    return _TONES.get(status, "bad")


def outcome_tone(outcome: TestOutcome) -> Tone:
    """How good it is what became of a test."""
    return _OUTCOMES.get(outcome, "bad")


def badge(text: str, of: Tone) -> Html:
    """A word that is seen first."""
    return tag("span", text, class_=f"badge {of}")


def status_badge(status: Status) -> Html:
    """A verdict."""
    return badge(status.value, tone(status))


def outcome_badge(outcome: TestOutcome) -> Html:
    """What became of a test."""
    return badge(outcome.upper(), outcome_tone(outcome))


def value(metric: MetricReport | str, number: float | None, unit: str = "") -> str:
    """A value with its unit; of a metric that this release does not know, as it is stored."""
    name = metric if isinstance(metric, str) else metric.name
    if name in METRICS:
        return units.value(name, number)
    symbol = unit if isinstance(metric, str) else metric.unit
    return units.NOT_MEASURED if number is None else f"{count(number)} {symbol}".rstrip()


def judged_words(metric: MetricReport) -> str:
    """The change of a judged metric; empty for one that was not judged."""
    return "" if metric.judged is None else change(metric_verdict(metric.name, metric.judged))


def margin_words(metric: MetricReport) -> str:
    """What it may lose: `5 %`, or `exact`."""
    if metric.judged is None or not metric.gated:
        return ""
    if metric.name not in METRICS:
        return units.margin(metric.judged.margin)
    return limit_words(metric_verdict(metric.name, metric.judged)).removeprefix("margin ")


def moment(iso: str) -> str:
    """An ISO date and time, for a person."""
    return iso.replace("T", " ").replace("+00:00", " UTC")
