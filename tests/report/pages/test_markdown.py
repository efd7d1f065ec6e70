"""The Markdown report: failed tests first, nothing hidden, names harmless, never larger than it may be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.records.attribution import Attribution, Change, KernelChange
from pytest_vllmperf.records.check_report import CheckReport, Judged
from pytest_vllmperf.records.kernels import KernelTime
from pytest_vllmperf.records.ratio import Ratio
from pytest_vllmperf.records.report import CollectionProblem, RunReport, ScorecardReport, ScorecardRow
from pytest_vllmperf.records.results import ComparisonRecord
from pytest_vllmperf.records.verdict import LimitVerdict, Status
from pytest_vllmperf.report.pages.bounded import COMMENT
from pytest_vllmperf.report.pages.markdown import document
from tests.report.pages.rendered import rendered
from tests.report.pages.test_gfm import NASTY
from tests.reporting import HOSTILE, check, metric, one_test, run_of

OURS = {
    *("h2", "h3", "p", "ul", "li", "strong", "table", "thead", "tbody", "tr", "th", "td"),
    *("code", "pre", "details", "summary"),
}
"""All that a report is made of; no links, no images, nothing else."""


def judged(status: Status = Status.OK, change: float = 0.0, **more: object) -> Judged:
    given = {"low": change - 0.01, "high": change + 0.01, "confidence": 0.99, "detectable": 0.04}
    return Judged(status=status, baseline=100.0, now=100.0 * (1 + change), change=change, margin=0.05, **given | more)


def slow(name: str = "", **more: object) -> CheckReport:
    """A check that regressed in throughput; its times are OK."""
    found = check(
        metric("output_throughput", (80.0,), gated=True, judged=judged(Status.REGRESSED, -0.2)),
        metric("ttft.p50", (0.1,), gated=True, judged=judged()),
        name=name,
        status=Status.REGRESSED,
    )
    return found.model_copy(update=more)


def fine(name: str = "", status: Status = Status.OK) -> CheckReport:
    return check(metric("output_throughput", (100.0,), gated=True, judged=judged(status)), name=name, status=status)


def with_run(report: RunReport, **more: object) -> RunReport:
    return report.model_copy(update={"run": report.run.model_copy(update=more)})


def test_a_red_run_tells_the_failed_test_first_and_folds_the_others() -> None:
    report = run_of(
        one_test("a.py::test_fine", fine()),
        one_test("a.py::test_slow", slow(), outcome="failed", message="REGRESSED because\nof that"),
    )
    text = document(with_run(report, outcome="failed", exit_status=1))
    assert text.startswith("## vllmperf: FAILED: 1 of 2 performance tests failed: 1 REGRESSED\n")
    found = rendered(text)
    assert found.rows[0] == ["verdict", "test", "metric", "now", "change [99 % CI]", "margin", "detects"]
    row = ["REGRESSED", "a.py::test_slow", "output throughput", "80 tok/s", "-20.0 % [-21.0, -19.0]", "5 %", "4.0 %"]
    assert found.rows[1] == row
    assert "REGRESSED because\nof that\n" in found.code
    visible, _, folded = text.partition("<details>")
    assert "test_fine" not in visible
    assert "test_fine" in folded


@pytest.mark.parametrize("status", [Status.NOISY, Status.NO_BASELINE, Status.NOT_COMPARABLE, Status.DRIFTED])
def test_what_is_not_well_is_never_folded(status: Status) -> None:
    text = document(run_of(one_test("a.py::test_a", fine(status=status)), one_test("a.py::test_b", fine())))
    visible = text.partition("<details>")[0]
    assert f"**{status.value}**" in visible
    assert "test_a" in visible
    assert "test_b" not in visible


def test_a_limit_that_is_not_kept_decides() -> None:
    beyond = LimitVerdict("ttft.p50", 0.5, Status.BEYOND_LIMIT, 0.6, 0.59, 0.61, 0.99, 3)
    found = fine().model_copy(update={"status": Status.BEYOND_LIMIT, "limits": (beyond,)})
    (row,) = rendered(document(run_of(one_test("a.py::test_a", found, outcome="failed")))).rows[1:]
    assert row[:1] + row[2:4] == ["BEYOND_LIMIT", "TTFT p50", "600 ms [590 ms, 610 ms]"]
    assert row[5] == "limit: at most 500 ms"


def test_a_test_that_failed_by_itself_is_not_called_ok() -> None:
    text = document(run_of(one_test("a.py::test_a", fine(), outcome="failed", message="assert 1 == 2")))
    assert "| OK (**failed**) |" in text.partition("<details>")[0]


def test_a_failed_test_without_a_check_has_a_row_and_its_log() -> None:
    text = document(run_of(one_test("a.py::test_a", outcome="error", message="died", log_tail="CUDA is gone")))
    found = rendered(text)
    assert found.rows[1][:2] == ["error", "a.py::test_a"]
    assert found.code[-3:-1] == ["died\n", "CUDA is gone\n"]


@pytest.mark.parametrize("outcome", ["interrupted", "not run"])
def test_what_did_not_come_to_an_end_is_not_folded_and_stands_before_noise(outcome: str) -> None:
    noisy, cut = one_test("a", fine(status=Status.NOISY)), one_test("b", outcome=outcome)
    report = with_run(run_of(one_test("c", fine()), noisy, cut), complete=False)
    shown = document(report).partition("<details>")[0]
    rows = [line.split(" | ")[:2] for line in shown.splitlines() if line.startswith("| **")]
    assert rows == [[f"| **{outcome}**", "`b`"], ["| **NOISY**", "`a`"]]


def test_skipped_tests_and_why() -> None:
    text = document(run_of(one_test("a.py::test_a", outcome="skipped", message="no GPU"), one_test("b", fine())))
    assert "- **1 test skipped: nothing of that was measured or judged.**" in text
    assert "`a.py::test_a`: `no GPU`" in text


def test_what_could_not_be_collected_and_notes() -> None:
    problem = CollectionProblem(nodeid="b.py", message="SyntaxError: x")
    run = with_run(run_of(one_test("a", fine())), complete=False, collection_problems=(problem,), notes=("ERROR: y",))
    text = document(run)
    assert text.startswith("## vllmperf: INCOMPLETE: 1 module could not be collected\n")
    assert {"SyntaxError: x\n", "ERROR: y\n"} <= set(rendered(text).code)


def test_what_changed_in_a_check_that_passed() -> None:
    found = fine().model_copy(update={"changed": ("vLLM: 0.31.0 -> 0.32.0",)})
    assert "changed since the baseline: vLLM: 0.31.0 -> 0.32.0" in document(run_of(one_test("a.py::test_a", found)))


def kernels() -> Attribution:
    before, after = KernelTime("flash", 10, 1.0), KernelTime("flash", 10, 1.5)
    rest = KernelTime("others", 5, 0.1)
    return Attribution(Change(1.1, 1.6), kernels=(KernelChange("flash", before, after),), ranks=1,
                       others=KernelChange("others", rest, rest))  # fmt: skip


def test_kernels_comparisons_scorecards_and_the_machine() -> None:
    ratio = Ratio(metric="output_throughput", ratio=1.5, low=1.4, high=1.6, rounds=3)
    compared = ComparisonRecord(a="awq", b="bf16", way="in turns", ratios=(ratio,))
    row = ScorecardRow(configuration="awq", engine="e", values={"output_throughput": 77.0}, speedup=ratio)
    card = ScorecardReport(name="card", profile="h100", baseline="bf16", rows=(row,), notes=("a note",))
    tests = one_test("a.py::test_a", slow(attribution=kernels()), outcome="failed", comparisons=(compared,))
    report = run_of(tests).model_copy(update={"scorecards": (card,)})
    found = rendered(document(report))
    assert any("flash" in text and "1,000.000 -> 1,500.000" in text for text in found.code)
    assert any("output throughput 1.5x [1.4, 1.6] (99 % CI, 3 rounds)" in text for text in found.code)
    assert any(cells[:2] == ["awq", "77"] for cells in found.rows)
    assert "a note" in found.code
    assert any("vLLM: 0.32.0" in text for text in found.code)


@pytest.mark.parametrize(("dirty", "said"), [(False, "commit: abc\n"), (True, "commit: abc with local changes\n")])
def test_the_commit(dirty: bool, said: str) -> None:
    assert said in document(with_run(run_of(one_test("a", fine())), commit="abc", dirty=dirty))


def hostile(names: tuple[str, ...]) -> RunReport:
    """Names wherever names can be."""
    tests = []
    for name in names:
        own = slow(name, changed=(name,), notes=(name,), attribution=kernels(), left_out=name, reasons=(name,))
        tests += [
            one_test(f"a.py::test[{name}]", own, outcome="failed", message=name, log_tail=name, file=name),
            one_test(f"a.py::well[{name}]", fine(name).model_copy(update={"changed": (name,), "notes": (name,)})),
            one_test(f"a.py::out[{name}]", outcome="skipped", message=name),
        ]
    row = ScorecardRow(configuration=names[0], engine=names[0], values={"output_throughput": 1.0})
    card = ScorecardReport(name=names[0], profile=names[0], baseline=names[0], rows=(row,), notes=names)
    report = run_of(*tests).model_copy(update={"scorecards": (card,)})
    problem = CollectionProblem(nodeid=names[0], message=names[0])
    return with_run(report, notes=names, written=names, collection_problems=(problem,))


def harmless(report: RunReport) -> None:
    found = rendered(document(report, 1_000_000))
    assert found.tags <= OURS
    assert not found.comments
    words = "".join(found.words)
    assert not [sign for sign in "@#<>`*|" if sign in words], words
    assert {len(row) for row in found.rows if row[0] != "configuration"} <= {7, 2}


@pytest.mark.parametrize("name", [*HOSTILE, *NASTY])
def test_hostile_names(name: str) -> None:
    harmless(hostile((name,)))


@settings(max_examples=30)
@given(st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from("`|\\<>@#\n\r\x1b"), min_size=1, max_size=40))
def test_any_name(name: str) -> None:
    harmless(hostile((name,)))


@pytest.mark.parametrize("most", [COMMENT, 5_000, 1_500])
def test_a_large_run_keeps_its_failed_tests_and_says_what_is_missing(most: int) -> None:
    passed = [one_test(f"a.py::test_fine[{number}]", fine()) for number in range(2_000)]
    text = document(
        run_of(*passed, one_test("a.py::test_slow", slow(), outcome="failed", message="why\n" * 9_000)), most
    )
    assert len(text.encode()) <= most
    found = rendered(text)
    assert found.tags <= OURS
    assert found.rows[1][:2] == ["REGRESSED", "a.py::test_slow"]
    assert "**Left out, because this report may have at most" in text
    assert "passed rows" in text
    assert text.count("<details>") == text.count("</details>")
    if most > 5_000:
        assert any(one.startswith("why\n") and "lines left out" in one for one in found.code)


def test_so_many_failed_tests_that_not_all_fit() -> None:
    tests = [one_test(f"a.py::test[{n}]", slow(), outcome="failed", message="why " * 500) for n in range(600)]
    text = document(run_of(*tests))
    assert len(text.encode()) <= COMMENT
    shown = sum(row[0] == "REGRESSED" for row in rendered(text).rows)
    assert 300 < shown <= 600
    assert "FAILED: 600 of 600 performance tests failed" in text.splitlines()[0]
    assert "failure messages" in text


def test_what_is_at_the_limit_is_not_cut() -> None:
    report = run_of(one_test("a.py::test_slow", slow(), outcome="failed", message="why"))
    assert "Left out" not in document(report)
