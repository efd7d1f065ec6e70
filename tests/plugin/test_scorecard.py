"""`@pytest.mark.scorecard`: what tests measured, as rows of one table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

FULL = {"step_seconds": 0.02, "weight_bytes": 2000}
HALF = {"step_seconds": 0.01, "weight_bytes": 1000, "deviation": 0.4}
FAST = {"step_seconds": 0.005, "weight_bytes": 500}
CLOSING = "output throughput over full (99 % CI): fast 4x [3.7, 4.33], half 2x [1.85, 2.16]"


def _card(project: Project, body: str = "vllmperf.measure(WORK)", **rows: dict[str, Any]) -> None:
    """A module with one parametrized test of a card `formats`; `rows` are its parameters' ids and engines."""
    parameters = "".join(f"    row({name!r}, **{engine!r}),\n" for name, engine in rows.items())
    project.module(f"""
def row(name, **engine):
    marks = pytest.mark.vllm("sim", backend="simulated", prefill_seconds_per_token=0, **engine)
    return pytest.param(name, id=name, marks=marks)

@pytest.mark.scorecard("formats", baseline="full")
@pytest.mark.parametrize("name", [
{parameters}])
def test_format(vllmperf, name):
    {body}
""")


def _tables(result: pytest.RunResult, card: str = "formats") -> list[dict[str, list[str]]]:
    """The tables of a card: head and rows by their first word, each with the words behind it."""
    tables: list[dict[str, list[str]]] = []
    inside = False
    for line in result.outlines:
        words = line.split()
        if words[:1] == [card]:
            tables.append({})
            inside = True
        inside = inside and bool(words) and words[0] not in ("output", "=====")
        if inside:
            tables[-1][words[0]] = words[1:]
    return tables


def _text(result: pytest.RunResult) -> str:
    """The output with folded lines joined."""
    return " ".join(line.strip() for line in result.outlines)


def test_the_table(project: Project) -> None:
    _card(project, full=FULL, half=HALF, fast=FAST)
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=3)
    start = result.outlines.index("formats      req/s    tok/s    TTFT p50    TPOT p50    speedup    agrees")
    assert "= vllmperf: simulated =" in result.outlines[start - 1]
    assert result.outlines[start + 1 : start + 10] == [
        "full            40      200       20 ms       20 ms          -         -",
        "half            80      400       10 ms       10 ms         2x       60%",
        "fast           160      800        5 ms        5 ms         4x      100%",
        "",
        "formats      weights    KV tokens    load    saved",
        "full         2,000 B       65,536     1 s        -",
        "half         1,000 B       65,536     1 s      50%",
        "fast           500 B       65,536     1 s      75%",
        CLOSING,
    ]


def test_rows_come_together_wherever_they_were_measured(project: Project, workers: list[str]) -> None:
    _card(project, full=FULL, half=HALF, fast=FAST)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=3)
    speed, memory = _tables(result)
    assert speed["full"] == ["40", "200", "20", "ms", "20", "ms", "-", "-"]
    assert speed["half"][-2:] == ["2x", "60%"]
    assert speed["fast"][-2:] == ["4x", "100%"]
    assert [memory[name][-1] for name in ("full", "half", "fast")] == ["-", "50%", "75%"]
    assert _text(result).count(CLOSING) == 1


def test_the_baseline_may_come_last(project: Project) -> None:
    _card(project, half=HALF, full=FULL)
    speed, memory = _tables(project.run("--vllmperf"))
    assert list(speed) == ["formats", "half", "full"]
    assert speed["half"][-2:] == ["2x", "60%"]
    assert memory["half"][-1] == "50%"


def test_unknown_weights_save_nothing(project: Project) -> None:
    _card(project, full={**FULL, "weight_bytes": None}, half=HALF)
    memory = _tables(project.run("--vllmperf"))[1]
    assert memory["full"][0] == "-"
    assert memory["half"][:2] == ["1,000", "B"]
    assert memory["formats"] == ["weights", "KV", "tokens", "load"]


def test_a_row_that_is_slower_has_a_speedup_below_one(project: Project) -> None:
    _card(project, full=FULL, slow={"step_seconds": 0.04})
    result = project.run("--vllmperf")
    assert _tables(result)[0]["slow"][-2] == "0.5x"
    assert "output throughput over full (99 % CI): slow 0.5x [0.462, 0.541]" in _text(result)


def test_rows_named_by_the_marker(project: Project, workers: list[str]) -> None:
    project.module("""
def test_plain(vllmperf):
    vllmperf.measure(WORK, engine=vllmperf.engine("a", backend="simulated", step_seconds=0.01))

for step, name in ((0.02, "full"), (0.01, "in four bits")):
    @pytest.mark.vllm("sim", backend="simulated", prefill_seconds_per_token=0, step_seconds=step)
    @pytest.mark.scorecard("formats", baseline="full", configuration=name)
    def made(vllmperf):
        vllmperf.measure(WORK)
    globals()["test_" + name.replace(" ", "_")] = made
""")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=3)
    speed = _tables(result)[0]
    assert set(speed) == {"formats", "full", "in"}
    assert speed["in"][:2] == ["four", "bits"]
    assert speed["in"][-2] == "2x"
    assert "output throughput over full (99 % CI): in four bits 2x [1.85, 2.16]" in _text(result)


def test_a_row_is_named_after_the_test_where_it_has_no_parameters(project: Project) -> None:
    project.perf_tests("test_one", marks=['@pytest.mark.scorecard("formats", baseline="test_one")'])
    assert list(_tables(project.run("--vllmperf"))[0]) == ["formats", "test_one"]


def test_cards_are_apart(project: Project) -> None:
    for card, tests in (("first", ["one", "two"]), ("second", ["one"])):
        mark = f'@pytest.mark.scorecard("{card}", baseline="one")'
        project.perf_tests(*tests, marks=[mark], module=f"test_{card}.py", check="")
    project.ini("python_functions = one two")
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=3)
    assert [list(table) for table in _tables(result, "first")] == [["first", "one", "two"]] * 2
    assert [list(table) for table in _tables(result, "second")] == [["second", "one"]] * 2


def test_without_the_marker_there_is_no_card(project: Project) -> None:
    project.perf_tests(check="")
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=1)
    assert "speedup" not in result.stdout.str()


def test_the_card_comes_without_any_check(project: Project) -> None:
    _card(project, full=FULL)
    result = project.run("--vllmperf")
    assert "verdict" not in result.stdout.str()
    assert list(_tables(result)[0]) == ["formats", "full"]


@pytest.mark.parametrize("body", ["vllmperf.measure(WORK); assert 0", "vllmperf.check(vllmperf.measure(WORK))"])
def test_a_test_that_fails_keeps_its_row(project: Project, body: str) -> None:
    _card(project, body, full=FULL, half=HALF)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=2)
    assert _tables(result)[0]["half"][-2] == "2x"


def test_a_card_without_its_baseline_says_so(project: Project, workers: list[str]) -> None:
    _card(project, full=FULL, half=HALF, fast=FAST)
    result = project.run("--vllmperf", "-k", "not full", *workers)
    result.assert_outcomes(passed=2)
    speed, memory = _tables(result)
    assert set(speed) >= {"formats", "half", "fast"}
    assert speed["formats"][-2:] == ["TPOT", "p50"]
    assert memory["formats"][-1] == "load"
    result.stdout.fnmatch_lines(["full, the baseline of this scorecard, was not measured, so nothing is compared"])
    assert "output throughput over" not in result.stdout.str()


def test_rows_on_different_workloads_are_told(project: Project) -> None:
    fewer = "Workload.synthetic(requests=2, input_tokens=8, output_tokens=5)"
    body = f"vllmperf.measure(WORK if name == 'full' else {fewer})"
    _card(project, body, full=FULL, half=HALF)
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=2)
    note = "the rows were measured with different workloads, so their ratios are not comparable"
    assert note in _text(result)
    _card(project, full=FULL, half=HALF)
    assert note not in _text(project.run("--vllmperf"))


def test_a_row_that_was_recorded_shows_all_its_engines(project: Project, workers: list[str]) -> None:
    """The first start is half as fast as the later two: the median of three is that of the others."""
    check = "vllmperf.check(vllmperf.measure(WORK))"
    _card(project, check, full=FULL, half={**HALF, "starts": [2.0, 1.0, 1.0]})
    result = project.run("--vllmperf-update", "--vllmperf-scorecards=cards", *workers)
    result.assert_outcomes(passed=2)
    assert _tables(result)[0]["half"][1] == "400"
    rows = json.loads((project.root / "cards" / "formats-simulated.json").read_text())["rows"]
    assert {row["configuration"]: len(row["engines"]) for row in rows} == {"full": 3, "half": 3}
    half = next(row for row in rows if row["configuration"] == "half")
    assert [engine["samples"]["output_throughput"][0] for engine in half["engines"]] == pytest.approx([200, 400, 400])


def test_a_row_that_was_not_checked_has_one_engine(project: Project) -> None:
    _card(project, full=FULL)
    project.run("--vllmperf-update", "--vllmperf-scorecards=cards").assert_outcomes(passed=1)
    (row,) = json.loads((project.root / "cards" / "formats-simulated.json").read_text())["rows"]
    assert len(row["engines"]) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "takes one name, got 0"),
        ("baseline='full'", "takes one name, got 0"),
        ("'formats', 'full'", "takes one name, got 2"),
        ("7, baseline='full'", "name=7 must be a short text"),
        ("' ', baseline='full'", "name=' ' must be a short text"),
        ("'formats'", "needs baseline="),
        ("'formats', baseline=None", "baseline=None must be a short text"),
        ("'formats', baseline='full', configuration=4", "configuration=4 must be a short text"),
        ("'formats', baseline='full', speed=3", "'speed'"),
    ],
)
def test_a_marker_that_cannot_be_meant(project: Project, arguments: str, words: str) -> None:
    project.perf_tests(marks=[f"@pytest.mark.scorecard({arguments})"])
    result = project.run("--vllmperf-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert line.startswith("ERROR: test_chat.py:6: test_chat.py::test_chat: @pytest.mark.scorecard: ")
    assert words in line
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    assert project.files() == {}


def test_a_wrong_marker_under_xdist_fails_its_own_test(project: Project) -> None:
    project.perf_tests("test_wrong", marks=['@pytest.mark.scorecard("formats")'])
    project.perf_tests("test_right", module="test_other.py", check="")
    result = project.run("--vllmperf", "-n", "2")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["test_chat.py::test_wrong: @pytest.mark.scorecard: needs baseline=*"])
    result.stdout.no_fnmatch_line("*armed.py*")
