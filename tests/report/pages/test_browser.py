"""The page in a real browser: no error, every plot drawn, in light and dark, and hostile names inert."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vllmperf.records.trends import RunTrends, Trends
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report import pages
from pytest_vllmperf.report.pages import history_page
from tests.browser import NEEDS_BROWSER, Browser, Page, browser
from tests.report.pages.material import KINDS, findings, rich_check, rich_run
from tests.report.test_trends import shift, trend
from tests.reporting import one_test, run_of

pytestmark = NEEDS_BROWSER

HOSTILE = (
    "<script>window.hit=1</script><img src=x onerror='window.hit=1'><b>bold</b>"
    "<a href='javascript:window.hit=1'>x</a>\u2028<!--\"'`&amp;%{y}"
)
UNDRAWN = "document.querySelectorAll('.plot:not([data-drawn])').length"


@pytest.fixture(scope="module")
def open_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every kind of plot, and with names that try to be obeyed."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    over_time = RunTrends(
        HOSTILE, Trends((trend(shift(changed=(HOSTILE,)), test=HOSTILE),), runs=12, notes=(HOSTILE,)), 11
    )
    file.write_text(pages.render(rich_run(HOSTILE), pages.PAGE, [findings(HOSTILE)], over_time), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def drawn(open_browser: Browser, rich: Path) -> Page:
    """That page with all that it has opened and drawn, in light."""
    page = open_browser.open(rich)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.resize(1280, 20_000)
    page.wait(f"{UNDRAWN} === 0")
    return page


def test_every_plot_is_drawn_without_an_error(drawn: Page) -> None:
    kinds = drawn.evaluate("[...new Set([...document.querySelectorAll('.plot')].map((one) => one.dataset.kind))]")
    assert set(kinds) == KINDS
    # Each has marks of its own, not only axes.
    empty = drawn.evaluate(
        "[...document.querySelectorAll('.plot')].filter((one) => "
        "!one.querySelector('.scatterlayer path, .barlayer path')).map((one) => one.dataset.kind)"
    )
    assert empty == []
    assert drawn.evaluate("document.querySelectorAll('.plot.failed').length") == 0
    assert drawn.problems == []


def test_hostile_names_do_nothing(drawn: Page) -> None:
    assert drawn.evaluate("window.hit === undefined")
    assert drawn.evaluate("document.querySelectorAll('img, .plot a, .plot b, main script').length") == 0
    # Shown as they are, in a table and in a plot.
    assert drawn.evaluate("document.querySelector('main').textContent.includes(\"onerror='window.hit=1'\")")
    ticks = drawn.evaluate(
        "[...document.querySelectorAll('[data-kind=kernels] .ytick text')].map((o) => o.textContent)"
    )
    assert any("<b>rope</b>" in one for one in ticks), ticks


def test_nothing_is_requested(drawn: Page) -> None:
    loaded = drawn.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    assert [one for one in loaded if not one.startswith(("data:", "blob:"))] == []


@pytest.mark.parametrize("width", [600, 1280])
def test_the_page_is_never_wider_than_the_window(drawn: Page, width: int) -> None:
    drawn.resize(width, 900)
    wide = drawn.evaluate(
        "[...document.querySelectorAll('main *')].filter((one) => !one.closest('.scroll, pre, svg, .plot') && "
        "one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 80))"
    )
    assert wide == []


def test_plots_follow_the_scheme_while_open(drawn: Page) -> None:
    fill = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    assert drawn.evaluate(fill) == "rgb(91, 101, 114)"
    drawn.prefer("dark")
    drawn.wait(f"{fill} === 'rgb(152, 162, 174)'")
    assert drawn.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 24)"
    assert drawn.problems == []


def test_a_page_in_the_dark(open_browser: Browser, rich: Path) -> None:
    page = open_browser.open(rich, "dark")
    page.evaluate("document.querySelector('.plot').scrollIntoView()")
    page.wait("!!document.querySelector('[data-drawn] .xtick text')")
    assert page.evaluate("getComputedStyle(document.querySelector('.xtick text')).fill") == "rgb(152, 162, 174)"
    assert page.problems == []


def test_the_filter_and_the_links(open_browser: Browser, tmp_path: Path) -> None:
    tests = [one_test(f"test_a.py::test_{name}", rich_check(status=Status.OK)) for name in ("one", "two")]
    file = tmp_path / "report.html"
    file.write_text(pages.render(run_of(*tests, one_test("t.py::t", outcome="skipped")), pages.PAGE), encoding="utf-8")
    page = open_browser.open(file)
    rows = "[...document.querySelectorAll('tbody tr[data-status]:not([hidden]) a')].map((one) => one.textContent)"
    assert page.evaluate(rows) == ["test_one", "test_two", "t"]
    page.evaluate("document.getElementById('search').focus()")
    page.call("Input.insertText", text="TWO")
    assert page.evaluate(rows) == ["test_two"]
    assert page.evaluate("document.getElementById('shown').textContent") == "1 of 3 shown"
    assert page.evaluate("document.querySelectorAll('details.test:not([hidden])').length") == 1
    page.evaluate("document.getElementById('search').value = ''")
    page.evaluate("document.getElementById('search').dispatchEvent(new Event('input'))")
    page.evaluate("document.querySelector('[data-filter=SKIPPED]').click()")
    assert page.evaluate(rows) == ["t"]
    page.evaluate("document.querySelector('[data-filter=SKIPPED]').click()")
    assert not page.evaluate("document.getElementById('test-2').open")
    page.evaluate("document.querySelector('a[href=\"#test-2\"]').click()")
    page.wait("document.getElementById('test-2').open")


def test_it_can_be_read_without_a_script(open_browser: Browser, rich: Path) -> None:
    page = open_browser.open(rich, scripts=False)
    page.call("Emulation.setScriptExecutionDisabled", value=False)  # to look; the page's own did not run
    shown = page.evaluate("document.body.innerText")
    assert "-12.0 % [-13.2, -10.8]" in shown
    assert page.evaluate("getComputedStyle(document.querySelector('.plot')).display") == "none"
    assert page.evaluate("getComputedStyle(document.querySelector('.tools')).display") == "none"


@pytest.mark.parametrize(("scheme", "accent"), [("light", "rgb(51, 85, 204)"), ("dark", "rgb(133, 161, 255)")])
def test_a_page_of_a_history(open_browser: Browser, tmp_path: Path, scheme: str, accent: str) -> None:
    file = tmp_path / "history.html"
    found = Trends((trend(shift(), test="a.py::test_a"), trend(test="b.py::test_b")), runs=12)
    file.write_text(history_page.page(found, "over time"), encoding="utf-8")
    page = open_browser.open(file, scheme)
    assert page.evaluate("getComputedStyle(document.querySelector('.chart .dots')).stroke") == accent
    box = page.evaluate("(({x, y, width, height}) => ({x, y, width, height}))"
                        "(document.querySelector('.chart svg').getBoundingClientRect())")  # fmt: skip
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=box["x"] + box["width"] - 5, y=box["y"] + 20)
    shown = "document.querySelector('output').textContent"
    page.wait(f"{shown} === '4466 tok/s, 2026-11-12 14:05, commit abcdef0'")
    page.evaluate("document.querySelector('.search').focus()")
    page.call("Input.insertText", text="TEST_B throughput")
    articles = "[...document.querySelectorAll('article:not([hidden]) h3')].map((one) => one.textContent)"
    assert page.evaluate(articles) == ["b.py::test_b h200"]
    assert page.problems == []
