"""The page of a run as text: what it says without a script, what it may do, and that nothing in it is obeyed."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.records.check_report import ReferenceReport, VerdictReport
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.report import CollectionProblem, RunReport
from pytest_vllmperf.records.verdict import LimitVerdict, Status
from pytest_vllmperf.report import pages
from pytest_vllmperf.report.pages import library
from pytest_vllmperf.report.pages import page as page_module
from pytest_vllmperf.report.pages.page import page
from tests.report.pages.material import KINDS, findings, rich_check, rich_run, rich_test
from tests.reporting import HOSTILE, check, measurement, metric, one_test, run_of

ENDINGS = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\u2028\u2029",
    "</title></style></pre>",
    "]]>",
    "@bad",
    "<a href='javascript:alert(1)'>x</a>",
    "%{y}",
    "$x$",
    "<img src=x onerror=alert(1)>",
    "\x00\x1b[31m",
)
"""Texts that would end an element, or be markup, a colour, a field or a formula."""
NEW = check(status=Status.NO_BASELINE)


@pytest.fixture(autouse=True)
def _small_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plotly is large, and what it does is seen in a browser."""
    monkeypatch.setattr(library, "source", lambda: "/* plotly */")


class Parsed(HTMLParser):
    """Elements, attributes and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split()).replace(" :", ":")


def packed(text: str, name: str) -> str:
    found = re.search(rf'<script type="application/gzip" id="{name}">([^<]*)</script>', text)
    assert found
    return gzip.decompress(base64.b64decode(found[1])).decode()


def figures(text: str) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = json.loads(packed(text, "figures"))
    return made


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in parts for text in strings(one)]


def test_all_that_a_terminal_says_stands_in_plain_html() -> None:
    text = Parsed(page(rich_run())).text
    for words in (
        "REGRESSED",
        "output throughput",
        "-12.0 % [-13.2, -10.8]",
        "1,900 tok/s 1,672 tok/s",
        "3.1 %",
        "GPU time 30.6 -> 31.9 ms +4.2 % [+3.8, +4.7]",
        "new: <b>rope</b> x 1,792 (+1.2 ms)",
        "changed since the baseline: vLLM 0.31.0 -> 0.32.0",
        "driver 1 2 changed",
        "KV cache 40 GiB",
        "headroom 17 GiB",
        "8 sessions, 2026-01-01 to 2026-01-08",
        "ERROR",
        "Scorecard formats",
        "2x [1.9, 2.1]",
        "overload 900 400 300 450 20 30",
        "gpu_memory_utilization=0.95 4096 too little 12.5 CUDA out of memory",
        "@pytest.mark.vllm('m ', gpu_memory_utilization=0.9)",
        "output throughput 2x [1.9, 2.1] 3",
    ):
        assert words in text, words


def test_it_has_every_kind_of_plot() -> None:
    assert {one["kind"] for one in figures(page(rich_run(), [findings()]))} == KINDS


def test_every_place_has_its_plot() -> None:
    made = page(rich_run(), [findings()])
    places = [int(value) for name, value in Parsed(made).attributes if name == "data-figure"]
    assert sorted(places) == list(range(len(figures(made))))


def test_what_failed_comes_first_and_is_open() -> None:
    green = one_test("test_a.py::test_green", rich_check(status=Status.OK))
    made = page(run_of(green, rich_test(number=1)))
    sections = re.findall(r'<details class="test" id="([^"]+)"( open)?', made)
    assert sections == [("test-2", " open"), ("test-1", "")]
    assert made.index('href="#test-2"') < made.index('href="#test-1"')


def test_a_failed_test_with_a_green_check_does_not_look_green() -> None:
    test = one_test("test_a.py::test_a", rich_check(status=Status.OK), outcome="failed", message="E assert 1 < 0")
    made = page(run_of(test))
    assert '<details class="test" id="test-1" open' in made
    assert "TEST FAILED" in Parsed(made).text
    assert "assert 1 < 0" in Parsed(made).text


def test_a_run_that_is_not_complete_says_so_first() -> None:
    report = run_of(one_test("test_a.py::test_a", rich_check(status=Status.OK)))
    problem = CollectionProblem(nodeid="test_b.py", message="SyntaxError: no")
    changes = {"complete": False, "collection_problems": (problem,)}
    made = page(report.model_copy(update={"run": report.run.model_copy(update=changes)}))
    before = Parsed(made[: made.index("<table")]).text
    assert "INCOMPLETE" in before
    assert "1 module could not be collected" in before
    assert "what is missing from it was not judged" in before
    assert "test_b.py could not be collected" in before
    assert "SyntaxError: no" in Parsed(made).text
    assert 'class="alert"' in made


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (run_of(), ("NOTHING JUDGED", "No performance test was selected")),
        (run_of(one_test("t.py::t", outcome="skipped")), ("NOTHING JUDGED", "The only performance test was skipped")),
        (run_of(one_test("t.py::t", outcome="interrupted")), ("NOTHING JUDGED", "No measurement was checked")),
        (run_of(one_test("t.py::t", NEW, outcome="failed")), ("FAILED", "1 check compared with nothing")),
    ],
)
def test_a_run_that_saw_nothing_does_not_look_green(report: RunReport, words: tuple[str, ...]) -> None:
    made = page(report)
    head = Parsed(made[made.index("<main>") : made.index("<h2>Run")]).text
    assert all(part in head for part in words), head
    assert 'class="alert"' in made
    assert "badge ok" not in made


def test_a_run_that_only_recorded_does_not_look_green() -> None:
    made = page(run_of(one_test("t.py::t", check(status=Status.RECORDED))))
    assert '<span class="badge info">RECORDED</span>' in made
    assert "nothing was compared with a baseline" in Parsed(made).text
    assert "badge ok" not in made[: made.index("<details")]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (Status.OK, "no metric was judged"),
        (Status.RECORDED, "recorded for h100"),
        (Status.NO_BASELINE, "nothing is recorded for h100"),
    ],
)
def test_a_check_without_a_judged_metric_says_why(status: Status, told: str) -> None:
    made = page(run_of(one_test("t.py::t", check(metric("ttft.p50", (0.1,)), status=status))))
    assert told in Parsed(made[: made.index("<h2>Tests")]).text


def test_a_green_run_has_no_alert() -> None:
    made = page(run_of(one_test("t.py::t", rich_check(status=Status.OK))))
    assert 'class="alert"' not in made
    assert '<span class="badge ok">PASSED</span>' in made


def test_a_limit_that_decided_stands_on_top() -> None:
    limit = LimitVerdict("ttft.p50", 0.02, Status.BEYOND_LIMIT, 0.05, 0.049, 0.051, 0.99, 3)
    beyond = rich_check(status=Status.OK, limits=(limit,)).model_copy(update={"status": Status.BEYOND_LIMIT})
    text = Parsed(page(run_of(one_test("t.py::t", beyond, outcome="failed")))).text
    assert "BEYOND_LIMIT" in text
    assert "limit: at most 20 ms" in text
    assert "TTFT p50 50 ms [49 ms, 51 ms] at most 20 ms" in text


def test_the_page_may_run_its_own_scripts_and_nothing_else() -> None:
    made = page(rich_run())
    policy = next(value for name, value in Parsed(made).attributes if value.startswith("default-src"))
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-eval" not in policy
    allowed = re.search("script-src ([^;]*);", policy)
    assert allowed
    own = made[made.rindex("<script>") + len("<script>") : made.rindex("</script>")]
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'"
              for one in (own, packed(made, "library"))}  # fmt: skip
    assert set(allowed[1].split()) == hashes
    assert not re.search(r"\b(?:src|href)=[\"']?(?:https?:)?//", made)


def hostile_page(text: str) -> str:
    return page(rich_run(text), [findings(text)])


@pytest.mark.parametrize("text", [*HOSTILE, *ENDINGS])
def test_hostile_texts_are_shown_and_not_obeyed(text: str) -> None:
    plain, made = Parsed(hostile_page("x")), hostile_page(text)
    found = Parsed(made)
    assert sorted(found.tags) == sorted(plain.tags)
    assert [name for name, _ in found.attributes] == [name for name, _ in plain.attributes]
    assert_inert(made)


def assert_inert(made: str) -> None:
    for text in (text for one in figures(made) for text in strings([one["traces"], one["layout"]])):
        bare = text.replace("<extra>", "").replace("</extra>", "").replace("<br>", "")
        assert not re.search(r"<\s*/?\s*[a-zA-Z!]", bare), text


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=st.sampled_from([*"<>&\"'/=!-;:#@%{}$`\\\n\r\t\0\x1b\u2028\ud800", *"abscript"]), max_size=24))
def test_no_text_becomes_markup(text: str) -> None:
    made = hostile_page(text)
    assert sorted(Parsed(made).tags) == sorted(Parsed(hostile_page("x" if text.strip() else text)).tags)
    assert_inert(made)
    made.encode()


def test_numbers_that_json_lacks_are_left_out() -> None:
    odd = check(metric("ttft.p50", (float("nan"), float("inf"), 0.1), (0.1,), gated=True))
    assert "NaN" not in packed(page(run_of(one_test("t.py::t", odd))), "figures")


def test_a_check_in_turns_tells_both_verdicts() -> None:
    plain = rich_check(status=Status.OK)
    reference = ReferenceReport(
        name="vLLM 0.31.0", way="in turns", environment=plain.environment, engines=plain.engines
    )
    judged = {name: one.judged for name, one in plain.metrics.items() if one.judged is not None}
    worse = {name: one.model_copy(update={"status": Status.REGRESSED}) for name, one in judged.items()}
    stored = VerdictReport(status=Status.REGRESSED, metrics=worse)
    made = page(run_of(one_test("t.py::t", plain.model_copy(update={"reference": reference, "by_baseline": stored}))))
    text = Parsed(made).text
    assert "in turns with vLLM 0.31.0, in turns" in text
    assert "The stored baseline, which does not decide here, says REGRESSED" in text
    assert "reference and engine differ: vLLM 0.31.0 -> 0.32.0" in text


def test_what_is_void_and_what_was_left_out_is_told() -> None:
    void = rich_check(
        status=Status.INVALID,
        problems=(Problem("preemptions", "3 requests were preempted"),),
        excluded=(Problem("throttling", "the GPU was throttled"),),
        reasons=("the measurement is void",),
    )
    text = Parsed(page(run_of(one_test("t.py::t", void, outcome="failed")))).text
    assert "void 3 requests were preempted [preemptions]" in text
    assert "one engine start: the GPU was throttled [throttling]" in text
    assert "why the measurement is void" in text


def test_a_measurement_without_a_check_is_shown() -> None:
    made = Parsed(page(run_of(one_test("t.py::t", measurements=(measurement(metric("ttft.p50", (0.1, 0.2))),)))))
    assert "Measured, not checked" in made.text
    assert "TTFT" in made.text


def test_a_page_of_sweeps_alone() -> None:
    made = page(None, [findings()])
    text = Parsed(made).text
    assert "Sweep study" in text
    assert "INCOMPLETE" in text
    assert "knee at dtype=a: concurrency=16" in text
    assert "cliff at dtype=a" in text
    assert {one["kind"] for one in figures(made)} == {"sweep-throughput", "sweep-ttft", "pareto"}


def test_a_page_without_plots_holds_no_library() -> None:
    made = page(run_of(one_test("t.py::t", outcome="skipped")))
    assert 'id="library"' not in made


def test_without_plotly_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    with pytest.raises(ReportError, match=r"needs Plotly: pip install 'pytest-vllmperf\[report\]'"):
        page_module.page(rich_run())


def test_it_begins_as_every_report() -> None:
    assert pages.render(rich_run(), pages.PAGE).startswith(f"{pages.MARK}\n<!doctype html>")
