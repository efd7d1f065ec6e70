"""`vllmperf history`: what it does for its arguments."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_vllmperf.cli.width import columns
from pytest_vllmperf.errors import HistoryError, SpecError
from pytest_vllmperf.history import opening
from pytest_vllmperf.records.trends import RunOfHistory, Trend, Trends
from pytest_vllmperf.report import trends, units
from pytest_vllmperf.report.pages import history_page
from pytest_vllmperf.storage import pages
from pytest_vllmperf.verdict.words import margin

if TYPE_CHECKING:
    from pytest_vllmperf.history.adding import Added
    from pytest_vllmperf.history.database import Database
    from pytest_vllmperf.history.taking import Taken

TITLE = "vLLM performance over time"


@dataclass(frozen=True)
class Where:
    """The history.

    Attributes:
        database: a file or URL; None for the one that the environment names, or the default.
        timeout: seconds that a locked one is waited for.
    """

    database: str | None
    timeout: float

    def opened(self) -> Database:
        """The database.

        Raises:
            HistoryError: where SQLAlchemy is not installed, or the URL is not valid.
        """
        return opening.opened(opening.place(self.database), self.timeout)


@dataclass(frozen=True)
class Asked:
    """What is to be shown, in the user's words."""

    test: str
    profile: str
    metrics: str
    min_change: str
    p_value: float
    window: int


@dataclass(frozen=True)
class Done:
    """What `add` did.

    Attributes:
        lines: one for each run.
        notes: what a person should know of them.
    """

    lines: tuple[str, ...]
    notes: tuple[str, ...]


def add(where: Where, files: Sequence[Path]) -> Done:
    """Add files to a history: all, or none.

    Raises:
        HistoryError: for the database.
        ReportError: for a file that is neither a run nor a baseline file; BaselineError for a damaged baseline file.
    """
    database = where.opened()
    from pytest_vllmperf.history import adding

    taken = [(file, one) for file in files for one in _taken(file)]
    done = adding.add(database, [one for _, one in taken])
    told = [(file, one) for (file, _), one in zip(taken, done, strict=True)]
    lines = list(_lines(told, database.name))
    return Done(tuple(lines), tuple(f"{file}: {note}" for file, one in told for note in one.taken.notes))


def _taken(file: Path) -> Sequence[Taken]:
    from pytest_vllmperf.history import taking
    from pytest_vllmperf.storage import baselines, runs

    try:
        if file.exists() and baselines.FORMAT.concerns(file):
            from pytest_vllmperf.history import sessions

            return sessions.of_baseline(_module(file), baselines.load(file).tests)
        return [taking.of_run(runs.load(file))]
    except ValueError as error:
        raise HistoryError(f"{file}: a time in it is no ISO date and time: {error}") from None


def _module(file: Path) -> str:
    """The test module of a baseline file, as in node ids: its path below the folder of its profile."""
    from pytest_vllmperf.lab.environment import profile_of
    from pytest_vllmperf.storage import baselines

    profiles = {
        profile_of(session.environment.hard)
        for entry in baselines.load(file).tests.values()
        for session in entry.sessions
    }
    parts = file.absolute().parts
    below = next((at for at in range(len(parts) - 2, -1, -1) if parts[at] in profiles), len(parts) - 2)
    return Path(*parts[below + 1 :]).with_suffix(".py").as_posix()


def _lines(told: Sequence[tuple[Path, Added]], name: str) -> Iterator[str]:
    """A line for each run, and one for each baseline file, whose sessions are many."""
    for file in dict.fromkeys(file for file, _ in told):
        here = [one for at, one in told if at == file]
        new = [one for one in here if one.values]
        values, known = sum(one.values or 0 for one in here), sum(one.known for one in here)
        if here[0].taken.source == "run":
            head = f"{file}: the run of {here[0].taken.run['started']}"
        else:
            head = f"{file}: {units.many(len(here), 'session')}"
        besides = f"; {units.many(known, 'value')} of it were there already" if known and values else ""
        if not values and (known or all(one.values is None for one in here)):
            yield f"{head}: already in {name}; nothing was added"
        elif here[0].taken.source == "run":
            yield f"{head}: {units.many(values, 'value')} added to {name}{besides}"
        else:
            yield f"{head}: {len(new)} with {units.many(values, 'value')} added to {name}{besides}"


def show(where: Where, asked: Asked, *, every: bool, as_json: bool) -> str:
    """The changes of a history.

    Raises:
        HistoryError: for the database.
        SpecError: for an argument that is not valid.
    """
    found = _found(where, asked)
    if as_json:
        return json.dumps(_data(found), indent=1)
    return "\n".join(trends.lines(found, every=every, width=columns(), spark=_can_draw()))


def plot(where: Where, asked: Asked, output: Path) -> str:
    """Write the page of a history; a line about it.

    Raises:
        HistoryError: for the database.
        SpecError: for an argument that is not valid.
        ReportError: where there is a file that is no such page.
        OSError: when the file cannot be written.
    """
    if output.suffix != ".html":
        raise SpecError(f"--output {output}: its name has to end in .html")
    found = _found(where, asked)
    try:
        pages.write(output, history_page.page(found, TITLE), history_page.MARK)
    except OSError as error:
        raise HistoryError(f"{output}: cannot be written: {error.strerror or error}") from None
    return f"{output}: {trends.headline(found)}"


def _found(where: Where, asked: Asked) -> Trends:
    database = where.opened()
    from pytest_vllmperf.history import choosing, finding, reading

    if not 0 < asked.p_value < 1:
        raise SpecError(f"--p-value {asked.p_value:g}: has to lie between 0 and 1")
    if asked.window < finding.LEAST_WINDOW:
        raise SpecError(f"--window {asked.window}: has to be at least {finding.LEAST_WINDOW}")
    rule = finding.Rule(asked.window, asked.p_value, margin("--min-change", asked.min_change))
    metrics = tuple(asked.metrics.replace(",", " ").split())
    if not metrics:
        raise SpecError("--metrics: names no metric")
    return finding.find(reading.read(database), choosing.Choice(metrics, asked.test, asked.profile), rule)


def _can_draw() -> bool:
    """Whether the output has the characters that small bars are made of."""
    try:
        trends.BARS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _data(found: Trends) -> dict[str, Any]:
    """A history for a program; numbers in the unit of their metric, changes as fractions."""
    return {
        "runs": found.runs,
        "changes": [
            {
                **_named(trend),
                "time": trend.times[shift.at],
                "before": shift.before,
                "after": shift.after,
                "change": shift.change,
                "worse": shift.worse,
                "p_value": shift.p_value,
                "last_before": _run(shift.last_before),
                "first_after": _run(shift.first_after),
                "environment_changed": shift.changed,
                "environment_unchanged": shift.unchanged,
                "environment_nearby": shift.nearby or None,
            }
            for event in trends.events(found.trends)
            for trend, shift in event.shifts
        ],
        "series": [_series(trend) for trend in found.trends],
        "changes_in_other_metrics": found.hidden,
        "notes": found.notes,
    }


def _named(trend: Trend) -> dict[str, Any]:
    one = trend.id
    return {
        "test": one.test,
        "check": one.check,
        "measurement": one.measurement or None,
        "profile": one.profile,
        "metric": one.metric,
        "unit": trend.metric.unit,
        "better": trend.metric.better,
    }


def _run(run: RunOfHistory) -> dict[str, Any]:
    return {"started": run.started, "commit": run.commit, "dirty": run.dirty, "complete": run.complete}


def _series(trend: Trend) -> dict[str, Any]:
    began = trend.began
    return {
        **_named(trend),
        "gated": trend.metric.gated,
        "values": [{"time": time, "value": value} for time, value in zip(trend.times, trend.values, strict=True)],
        "levels": trends.levels(trend),
        "not_compared_with_before": None
        if began is None
        else {"run": _run(began.first_after), "environment_changed": began.changed},
        "left_out": dict(trend.left_out),
        "missing_in_newest": trend.missing or None,
    }
