"""What concerns a whole run on a page: how it ended, loudly where it is not complete, and where it ran."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report import units
from pytest_vllmperf.report.pages import wording
from pytest_vllmperf.report.pages.markup import Content, Html, facts, joined, more, tag
from pytest_vllmperf.report.pages.overview import Row

_JUDGED = (Status.OK, Status.IMPROVED, Status.NOISY, Status.DRIFTED, Status.REGRESSED, Status.BEYOND_LIMIT)


def head(report: RunReport, rows: Sequence[Row]) -> Html:
    """The title, how the run ended, and what is wrong with it as a whole.

    Args:
        report: the run.
        rows: of its table.
    """
    run = report.run
    title = tag("h1", "vLLM performance report ", wording.badge(run.outcome.upper(), _tone(report)))
    about = f"{run.machine.device} · vLLM {run.machine.vllm or 'not installed here'} · {wording.moment(run.started)}"
    return joined(title, tag("p", about, class_="muted"), *(_alert(one) for one in alerts(report, rows)))


def _tone(report: RunReport) -> wording.Tone:
    """A run is as good as its exit status; one that is not complete, or saw nothing, is never green."""
    if report.run.exit_status != 0:
        return "bad"
    return "ok" if report.run.complete and report.tests else "warn"


def _alert(text: str) -> Html:
    first, _, rest = text.partition(": ")
    return tag("div", tag("strong", first), f": {rest}" if rest else None, class_="alert", role="alert")


def alerts(report: RunReport, rows: Sequence[Row]) -> Iterator[str]:
    """What nobody may overlook: what the run did not see.

    Args:
        report: the run.
        rows: of its table.
    """
    run = report.run
    if not report.tests:
        yield "Nothing was measured: no performance test ran"
    unfinished = [test for test in report.tests if test.outcome in ("interrupted", "not run")]
    if unfinished:
        yield f"The run is not complete: {units.many(len(unfinished), 'test')} did not come to its end or never began"
    elif not run.complete:
        yield "The run is not complete: it was cut short, or a module could not be collected"
    for problem in run.collection_problems:
        yield f"Tests are missing: {problem.nodeid} could not be collected"
    checks = [row.check for row in rows if row.check is not None]
    if report.tests and checks and all(check.status is Status.RECORDED for check in checks):
        yield "Nothing was judged: every check recorded a baseline"
    elif report.tests and not any(check.status in _JUDGED for check in checks) and not _asserted(report):
        yield "Nothing was judged: no check came to a verdict"


def _asserted(report: RunReport) -> bool:
    """Whether something else was asserted: a comparison, an overload, or what a test asserts on itself."""
    return any(test.comparisons or test.overloads or test.fits or test.measurements for test in report.tests)


def about(report: RunReport) -> Html:
    """Where and how the run was made.

    Args:
        report: the run.
    """
    run, machine = report.run, report.run.machine
    notes = joined(*(tag("p", note, class_="note") for note in run.notes))
    problems = joined(*(joined(tag("p", one.nodeid), tag("pre", one.message)) for one in run.collection_problems))
    pairs: list[tuple[str, Content]] = [
        ("device", machine.device),
        ("driver", machine.driver),
        ("vLLM", machine.vllm),
        ("Python, pytest", f"{machine.python}, {machine.pytest}"),
        ("platform", machine.platform),
        ("pytest-vllmperf", run.plugin),
        ("started", f"{wording.moment(run.started)}, took {timedelta(seconds=round(run.seconds))}"),
        ("baselines", run.mode),
        ("written", ", ".join(run.written)),
        ("exit status", f"{run.exit_status} ({run.outcome})"),
    ]
    options = facts((name or "vllmperf", value) for name, value in run.options.items())
    return joined(
        tag("h2", "Run"),
        notes,
        facts(pairs),
        more(f"Options ({len(run.options)})", options) if run.options else None,
        more(f"Collection errors ({len(run.collection_problems)})", problems) if run.collection_problems else None,
    )
