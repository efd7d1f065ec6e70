"""Scorecards as files. A regular file stands where a folder should be: nobody, not even root, can write below it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

STEM = "number-formats-simulated"
NAMES = [f"{STEM}.json", f"{STEM}.md"]
TABLE = """\
# Number formats: simulated

| configuration   |   weights |   KV tokens |   load |   req/s |   tok/s |   TTFT p50 |   TPOT p50 |\
         speedup |   weights saved |   agreement |
|-----------------|-----------|-------------|--------|---------|---------|------------|------------|\
-----------------|-----------------|-------------|
| full            |   2,000 B |      65,536 |    1 s |      40 |     200 |      20 ms |      20 ms |\
               - |               - |           - |
| half            |   1,000 B |      65,536 |    1 s |      80 |     400 |      10 ms |      10 ms |\
 2x [1.85, 2.16] |             50% |         60% |

output throughput over full (99 % CI): half 2x [1.85, 2.16]
"""


@pytest.fixture
def card(project: Project) -> Project:
    """Two tests that are rows of one card."""
    project.module("""
def row(name, **engine):
    marks = pytest.mark.vllm("sim", backend="simulated", prefill_seconds_per_token=0, **engine)
    return pytest.param(id=name, marks=marks)

@pytest.mark.scorecard("Number formats", baseline="full")
@pytest.mark.parametrize((), [
    row("full", step_seconds=0.02, weight_bytes=2000),
    row("half", step_seconds=0.01, weight_bytes=1000, deviation=0.4),
])
def test_format(vllmperf):
    vllmperf.measure(WORK)
""")
    return project


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def _cards(project: Project) -> list[Path]:
    """The card's files, wherever below the project."""
    return [path for path in project.root.rglob("*") if STEM in path.name]


def test_markdown_and_json(card: Project) -> None:
    result = card.run("--vllmperf", "--vllmperf-scorecards=out/cards")
    result.assert_outcomes(passed=2)
    folder = card.root / "out" / "cards"
    assert _names(folder) == NAMES
    assert (folder / f"{STEM}.md").read_text() == TABLE
    written = json.loads((folder / f"{STEM}.json").read_text())
    assert (written["name"], written["profile"], written["baseline"]) == ("Number formats", "simulated", "full")
    assert [row["configuration"] for row in written["rows"]] == ["full", "half"]
    assert [row["workload"]["count"] for row in written["rows"]] == [4, 4]
    assert written["rows"][1]["engines"][0]["samples"]["output_throughput"] == pytest.approx([400.0] * 10)
    result.stdout.fnmatch_lines([f"written: out/cards/{STEM}.md", f"written: out/cards/{STEM}.json"])


def test_under_xdist_the_controller_writes_once(card: Project) -> None:
    result = card.run("--vllmperf", "--vllmperf-scorecards=cards", "-n", "2")
    result.assert_outcomes(passed=2)
    assert _names(card.root / "cards") == NAMES
    rows = json.loads((card.root / "cards" / f"{STEM}.json").read_text())["rows"]
    assert sorted(row["configuration"] for row in rows) == ["full", "half"]
    assert result.outlines.count(f"written: cards/{STEM}.md") == 1


def test_an_absolute_folder(card: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    result = card.run("--vllmperf", f"--vllmperf-scorecards={elsewhere}")
    assert _names(elsewhere) == NAMES
    result.stdout.fnmatch_lines([f"written: {elsewhere}/{STEM}.md"])
    assert _cards(card) == []


def test_ini_and_option_over_it(card: Project) -> None:
    card.ini("vllmperf_scorecards = kept/here")
    card.run("--vllmperf").assert_outcomes(passed=2)
    assert _names(card.root / "kept" / "here") == NAMES
    card.run("--vllmperf", "--vllmperf-scorecards=other").assert_outcomes(passed=2)
    assert _names(card.root / "other") == NAMES


def test_the_folder_is_taken_from_the_root_directory(card: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (card.root / "sub").mkdir()
    monkeypatch.chdir(card.root / "sub")
    card.run("--vllmperf", "--vllmperf-scorecards=cards", "..").assert_outcomes(passed=2)
    assert _names(card.root / "cards") == NAMES


def test_a_later_run_replaces_them(card: Project) -> None:
    stale = card.write(f"cards/{STEM}.md", "old\n")
    card.write(f"cards/{STEM}.json", "old\n")
    card.run("--vllmperf", "--vllmperf-scorecards=cards").assert_outcomes(passed=2)
    assert stale.read_text() == TABLE
    assert json.loads(stale.with_suffix(".json").read_text())["name"] == "Number formats"
    assert _names(card.root / "cards") == NAMES


def test_a_card_without_its_baseline_says_so_in_the_file(card: Project) -> None:
    card.run("--vllmperf", "--vllmperf-scorecards=cards", "-k", "half").assert_outcomes(passed=1)
    text = (card.root / "cards" / f"{STEM}.md").read_text()
    assert text.endswith("\n\nfull, the baseline of this scorecard, was not measured, so nothing is compared\n")


def test_nothing_is_written_without_the_option(card: Project) -> None:
    result = card.run("--vllmperf")
    result.assert_outcomes(passed=2)
    assert _cards(card) == []
    result.stdout.no_fnmatch_line("written: *")


def test_nothing_is_written_without_a_card(project: Project) -> None:
    project.perf_tests(check="")
    project.run("--vllmperf", "--vllmperf-scorecards=cards").assert_outcomes(passed=1)
    assert not (project.root / "cards").exists()


@pytest.mark.parametrize("folder", ["taken", "taken/deeper"])
def test_a_folder_that_cannot_be_written_is_one_line_before_anything_runs(
    card: Project, folder: str, workers: list[str]
) -> None:
    taken = card.write("taken", "in the way\n")
    result = card.run("--vllmperf", f"--vllmperf-scorecards={folder}", *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = [line for line in [*result.outlines, *result.errlines] if line.startswith("ERROR")]
    reason = f"{card.root / 'taken'} is not a writable folder"
    assert lines == [f"ERROR: {card.root / folder}: scorecards cannot be written: {reason}"]
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert taken.read_text() == "in the way\n"


def test_a_file_that_cannot_be_replaced_leaves_nothing_half_written(card: Project) -> None:
    (card.root / "cards" / f"{STEM}.md").mkdir(parents=True)
    result = card.run("--vllmperf", "--vllmperf-scorecards=cards")
    result.stdout.fnmatch_lines([f"ERROR: *cards/{STEM}.md: the scorecard could not be written: *"])
    assert _names(card.root / "cards") == [f"{STEM}.md"]


def test_it_is_explained(project: Project) -> None:
    result = project.run("--help")
    result.stdout.fnmatch_lines(["  --vllmperf-scorecards=FOLDER", "  vllmperf_scorecards (string):*"])
