"""A history as a page: what is in it, and that texts of others are only texts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pytest_vllmperf.records.trends import Break, Trends
from pytest_vllmperf.report.pages import trends
from pytest_vllmperf.report.pages.history_page import MARK, page
from tests.report.test_trends import RUNS, THROUGHPUT, shift, trend
from tests.reporting import HOSTILE

ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "main", "script", "section", "article", "noscript"),
    *("h1", "h2", "h3", "p", "div", "span", "strong", "table", "thead", "tbody", "tr", "th", "td", "input", "output"),
    *("figure", "figcaption", "svg", "path"),
}
UNCLOSED = {"meta", "input", "thead", "tbody", "tr", "th", "td"}
"""Elements without an end tag, which HTML does not want."""


class Page(HTMLParser):
    """The elements of a page, its texts, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in UNCLOSED:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in UNCLOSED:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts.append(data)
        elif self._open and self._open[-1] != "style":
            self.text += data


def labels(made: Page) -> list[str]:
    """The list of runs that charts refer to."""
    (found,) = (attributes["data-runs"] for tag, attributes in made.tags if tag == "section")
    listed: list[str] = json.loads(str(found))
    return listed


def charts(made: Page) -> list[dict[str, str | None]]:
    return [attributes for tag, attributes in made.tags if tag == "figure"]


def test_a_page_holds_changes_and_charts() -> None:
    text = page(Trends((trend(shift()), trend(test="a.py::test_b")), runs=12, notes=("a note",)), "over time")
    assert text.startswith(f"{MARK}\n<!doctype html>\n")
    made = Page(text)
    assert "1 change in 2 metrics of 12 runs: 1 for the worse, 0 for the better" in made.text
    assert "since vLLM 0.32.0 -> 0.33.0, driver 580.95 unchanged; commits abcdef0..abcdef0" in made.text
    for part in ("over time", "a note", "WORSE", "-7.2 %", "4,812 -> 4,466 tok/s", "tests/test_chat.py::test_chat"):
        assert part in made.text
    assert [figure["data-values"] for figure in charts(made)] == [",".join(["4812"] * 6 + ["4466"] * 6)] * 2
    assert [figure["data-unit"] for figure in charts(made)] == ["tok/s"] * 2
    paths = [attributes for tag, attributes in made.tags if tag == "path"]
    marks = [one for one in paths if str(one["class"]).startswith("mark")]
    assert [one["class"] for one in marks] == ["mark bad"]
    assert str(next(one for one in paths if one["class"] == "level")["d"]).count("M") == 2
    assert str(next(one for one in paths if one["class"] == "dots")["d"]).count("M") == 12


def test_it_needs_no_other_file() -> None:
    text = page(Trends((trend(shift()),), runs=12), "x")
    made = Page(text)
    assert not [attributes for _, attributes in made.tags if {"src", "href"} & set(attributes)]
    assert "url(" not in text
    (policy,) = [str(one["content"]) for _, one in made.tags if one.get("http-equiv") == "Content-Security-Policy"]
    own = base64.b64encode(hashlib.sha256(made.scripts[0].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{own}'; ")
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("name", [*HOSTILE, "</script><script>alert(1)</script>", '" onmouseover="alert(1)', "<!--"])
def test_texts_of_others_are_only_texts(name: str) -> None:
    began = Break(RUNS[0], replace(RUNS[1], started=name), (name,))
    hostile = replace(
        trend(shift(changed=(name,), unchanged=(name,)), test=f"t[{name}]", check=name, profile=name),
        metric=replace(THROUGHPUT, label=name, unit=name),
        left_out=((name, 2),),
        missing=name,
    )
    runs = tuple(replace(one, started=name, commit=name, id=at) for at, one in enumerate(hostile.runs))
    hostile = replace(hostile, runs=runs)
    made = Page(page(Trends((hostile, replace(hostile, began=began)), runs=2, notes=(name,)), name))
    assert {tag for tag, _ in made.tags} <= ALLOWED
    assert not [key for _, attributes in made.tags for key in attributes if key.startswith("on")]
    assert sum(tag == "script" for tag, _ in made.tags) == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", made.text)
    assert isinstance(labels(made), list)


def test_runs_of_a_chart_are_those_of_the_list() -> None:
    made = Page(trends.whole(Trends((trend(), replace(trend(test="b"), runs=RUNS[::-1])), runs=12)))
    listed = labels(made)
    assert listed[0] == "2026-11-01 14:05, commit abcdef0"
    assert [one[:10] for one in listed] == [f"2026-11-{day:02}" for day in range(1, 13)]
    in_order, backwards = (figure["data-runs"] for figure in charts(made))
    assert in_order == "0"  # it counts up from there
    assert backwards == ",".join(map(str, range(11, -1, -1)))


def test_a_series_without_a_value_says_so() -> None:
    empty = replace(trend(), values=(), times=(), runs=(), left_out=(("void", 3),), missing="void")
    made = Page(trends.whole(Trends((empty,), runs=3)))
    assert "no value" in made.text
    assert "3 void" in made.text
    assert "newest: void" in made.text


@pytest.mark.parametrize("values", [(5.0,), (0.0,) * 12, (-1.0, 1.0), (1e-300, 1e300)])
def test_any_values_make_a_chart(values: tuple[float, ...]) -> None:
    one = replace(trend(), values=values, times=tuple(map(float, range(len(values)))), runs=RUNS[: len(values)])
    text = trends.whole(Trends((one,), runs=12))
    assert "nan" not in text
    heights = [float(found) for found in re.findall(r"M[\d.]+ (-?[\d.]+)h0", text)]
    assert len(heights) == len(values)
    assert all(0 <= height <= 120 for height in heights)


def test_noise_far_below_a_per_cent_looks_small() -> None:
    quiet = replace(trend(), values=(1000.0, 1000.5) * 6)
    heights = [float(found) for found in re.findall(r"M[\d.]+ ([\d.]+)h0", trends.whole(Trends((quiet,), runs=12)))]
    assert max(heights) - min(heights) < 10


def test_seconds_are_shown_as_a_person_reads_them() -> None:
    one = trend()
    made = Page(
        trends.whole(Trends((replace(one, id=replace(one.id, metric="ttft.p50"), values=(0.0232,) * 12),), runs=12))
    )
    (figure,) = charts(made)
    assert (figure["data-unit"], str(figure["data-values"]).split(",")[0]) == ("ms", "23.2")
