"""What concerns a whole run on a page: how it ended, loudly where it is not complete, and where it ran."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.report.pages import outcome, wording
from pytest_vllmperf.report.pages.markup import Content, Html, facts, joined, more, tag

_TONES: Final[dict[outcome.Word, wording.Tone]] = {"PASSED": "ok", "RECORDED": "info", "NOTHING JUDGED": "warn"}
"""Of all others: bad."""


def head(report: RunReport) -> Html:
    """The title, what the run came to, and what nobody may overlook.

    Args:
        report: the run.
    """
    run, word = report.run, outcome.word(report)
    title = tag("h1", "vLLM performance report ", wording.badge(word, _TONES.get(word, "bad")))
    where = f"{run.machine.device} · vLLM {run.machine.vllm or 'not installed here'} · {wording.moment(run.started)}"
    lines = [*outcome.warnings(report), *(f"{one.nodeid} could not be collected." for one in run.collection_problems)]
    said = outcome.headline(report).partition(": ")[2]
    told = [tag("strong", f"{said[:1].upper()}{said[1:]}"), *(tag("p", line, class_="small") for line in lines)]
    class_ = "alert" if _TONES.get(word, "bad") in ("bad", "warn") else "note"
    return joined(title, tag("p", where, class_="muted"), tag("div", *told, class_=class_, role="status"))


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
