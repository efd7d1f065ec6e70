"""Trends in the report of a run: what is said where nothing is known, and that it stays small."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pytest_vllmperf.records.trends import Break, RunOfHistory, RunTrends, Trend, Trends
from pytest_vllmperf.report import pages
from pytest_vllmperf.report.pages import library, markdown, trends
from tests.report.pages.rendered import rendered
from tests.report.test_trends import RUNS, run, shift, trend
from tests.reporting import HOSTILE, check, one_test, run_of

UNREAD = RunTrends("", None, problem="history.db: there is no such history")
REPORT = run_of(one_test("a.py::test_a", check()))


@pytest.fixture(autouse=True)
def _small_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "source", lambda: "/* plotly */")


def told(*found: Trend, **more: object) -> RunTrends:
    return replace(RunTrends("history.db", Trends(found, runs=12), earlier=11), **more)  # type: ignore[arg-type]


def test_a_history_that_was_not_read_is_an_alert() -> None:
    page = pages.render(REPORT, ".html", (), UNREAD)
    assert page.count(trends.UNREADABLE) == 1  # the line that leads there
    assert f"{trends.UNREADABLE[:1].upper()}{trends.UNREADABLE[1:]}." in page
    assert "history.db: there is no such history" in page
    document = pages.render(REPORT, ".md", (), UNREAD)
    assert f"**Trends: {trends.UNREADABLE}.** `history.db: there is no such history`" in document
    assert "no change" not in page + document


def test_without_earlier_values_nothing_is_said_of_changes() -> None:
    alone = told(trend(), earlier=0)
    for text in (trends.of_run(alone), pages.render(REPORT, ".md", (), alone)):
        assert "the history has no earlier value of the checks of this run, so no change can be found" in text
        assert "no change found" not in text


def test_only_where_somebody_asked() -> None:
    assert 'id="trends"' not in pages.render(REPORT, ".html")
    assert "Trends" not in pages.render(REPORT, ".md")


def test_a_run_without_a_test_has_its_section() -> None:
    assert trends.UNREADABLE in pages.render(run_of(), ".html", (), UNREAD).lower()


def many(tests: int, runs: Sequence[RunOfHistory], changed: int = 0) -> list[Trend]:
    """A trend of each test; the last ones have a change."""
    values = tuple(4812.0 + at % 7 for at in range(len(runs)))
    made = []
    for number in range(tests):
        one = replace(shift(), at=len(runs) - 5, last_before=runs[-6], first_after=runs[-5])
        shifts = (one,) if number >= tests - changed else ()
        base = trend(*shifts, test=f"tests/test_many.py::test_{number}")
        made.append(replace(base, values=values, runs=tuple(runs), times=tuple(map(float, range(len(runs))))))
    return made


def test_what_has_no_room_is_counted_and_changes_are_kept() -> None:
    long = [replace(RUNS[0], id=at, started=f"2026-01-01T00:00:{at % 60:02}.{at:06}+00:00") for at in range(2_000)]
    made = trends.of_run(told(*many(200, long, changed=3)))
    assert len(made) < 150_000
    shown = re.findall(r"<figure data-values=", made)
    (left_out,) = re.findall(r"Left out, as there is no room: (\d+) charts, none of them with a change", made)
    assert len(shown) + int(left_out) == 200
    assert f"Charts ({len(shown)})" in made
    assert made.count('class="mark bad"') == 3
    assert "2,000 runs; level" in made
    assert "the newest 100 are drawn" in made


def test_charts_with_changes_that_are_left_out_are_counted() -> None:
    long = [replace(RUNS[0], id=at) for at in range(500)]
    made = trends.of_run(told(*many(200, long, changed=200)))
    (left_out, changed) = re.findall(r"no room: (\d+) charts, (\d+) of them with a change", made)[0]
    assert left_out == changed


def test_a_change_before_the_drawn_values_is_not_drawn_but_told() -> None:
    long = [replace(RUNS[0], id=at, started=f"2026-01-01T{at // 60:02}:{at % 60:02}:00+00:00") for at in range(300)]
    (base,) = many(1, long)
    old = replace(base, shifts=(replace(shift(), at=50, last_before=long[49], first_after=long[50]),))
    made = trends.of_run(told(old))
    assert 'class="mark' not in made
    assert "2026-01-01 00:50" in made
    assert "-7.2 %" in made


def test_many_metrics_of_one_change_are_bounded_and_counted() -> None:
    one = trend(*(shift(at, last_before=run(at), first_after=run(at + 1)) for at in range(1, 10)))
    made = trends.of_run(told(*(replace(one, id=replace(one.id, test=f"t{number}")) for number in range(40))))
    assert made.count('<div class="event">') == 9
    assert "20 more metrics" in made
    assert made.count("Left out: 10 more. vllmperf history show lists all.") == 9
    assert "Older changes (1)" in made


def test_many_changes_are_bounded_and_counted() -> None:
    days = [
        replace(RUNS[0], id=at, started=f"2026-{at // 28 + 1:02}-{at % 28 + 1:02}T00:00:00+00:00") for at in range(60)
    ]
    shifts = [replace(shift(), at=at, last_before=days[at - 1], first_after=days[at]) for at in range(1, 40)]
    (base,) = many(1, days)
    made = trends.of_run(told(replace(base, shifts=tuple(shifts))))
    assert made.count('<div class="event">') == 20
    assert "Left out: the 19 oldest. vllmperf history show lists all." in made


def test_the_table_of_a_document() -> None:
    ttft = trend(shift(change=0.03, worse=False))
    began = Break(RUNS[0], RUNS[1], ("model a -> b",))
    apart = replace(trend(test="b.py::test_b"), began=began)
    document = rendered(markdown.document(REPORT, trends=told(trend(shift()), ttft, apart)))
    rows = [row for row in document.rows if row[0].startswith("2026-")]
    cause = "since vLLM 0.32.0 -> 0.33.0, driver 580.95 unchanged; commits abcdef0..abcdef0"
    name = "tests/test_chat.py::test_chat"
    assert [
        "2026-11-07 14:05",
        name,
        "output throughput and 1 more",
        "-7.2 % WORSE",
        "4,812 -> 4,466 tok/s",
        cause,
    ] in rows
    assert any(row[1:4] == ["b.py::test_b", "", "NOT COMPARED"] and "model a -> b" in row[5] for row in rows)


def test_a_short_table() -> None:
    found = [replace(one, shifts=(shift(),)) for one in (trend(test=f"t{number}") for number in range(40))]
    text = markdown.document(REPORT, trends=told(*found))
    assert text.count("**WORSE**") == 15
    assert "25 older rows left out of this table; vllmperf history show lists all" in text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_a_document(name: str) -> None:
    one = trend(shift(changed=(name,), unchanged=(name,)), test=f"t[{name}]", check=name)
    one = replace(one, metric=replace(one.metric, label=name, unit=name))
    found = told(one, found=Trends((one,), 12, notes=(name,)))
    clean = told(trend(shift(), test="t", check="c"), found=Trends((trend(shift(), check="c"),), 12, notes=("n",)))
    hostile, plain = (rendered(markdown.document(REPORT, trends=one)) for one in (found, clean))
    assert hostile.tags == plain.tags
    assert [len(row) for row in hostile.rows] == [len(row) for row in plain.rows]
    assert "markup" not in " ".join(hostile.words)
