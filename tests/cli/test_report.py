"""`vllmperf report`: a page or a document of the file of a run, and of sweeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.lab import leases
from pytest_vllmperf.report import pages
from pytest_vllmperf.report.pages import library
from pytest_vllmperf.storage import runs
from tests.history.material import SOFT, story
from tests.reporting import hostile_run

Capture = pytest.CaptureFixture[str]

STUDY = """\
iterations = 2
warmup = 0

[engine]
model = "m"
backend = "simulated"

[workload]
requests = 16
input_tokens = 8
output_tokens = 4

[[axis]]
name = "concurrency"
values = [1, 4, 16]
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    runs.write(Path("run.json"), hostile_run())
    return Path("run.json")


def report(*arguments: str | Path) -> int:
    return cli.main(["report", *map(str, arguments)])


@pytest.mark.parametrize("name", ["out/report.html", "report.md"])
def test_a_report_of_a_run(run: Path, capsys: Capture, name: str) -> None:
    assert report(run, "--output", name) == 0
    assert capsys.readouterr().out == f"a report is written to {name}\n"
    text = Path(name).read_text(encoding="utf-8")
    assert text.startswith(pages.MARK)
    assert text.count("REGRESSED") >= len(hostile_run().tests)


def test_a_page_of_a_run_and_a_sweep(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(leases.VARIABLE, str(tmp_path))
    Path("study.toml").write_text(STUDY, encoding="utf-8")
    assert cli.main(["sweep", "study.toml"]) == 0
    assert report(run, "study.toml", "--output", "both.html") == 0
    assert report("study.toml", "--output", "alone.html") == 0
    for name in ("both.html", "alone.html"):
        text = Path(name).read_text(encoding="utf-8")
        assert "Sweep study" in text
        assert "knee: concurrency=" in text
    assert "REGRESSED" in Path("both.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run.json", "--output", "report.pdf"), "'report.pdf' is not a report's name; it has to end in .html or .md"),
        (("run.json", "run.json", "--output", "a.html"), "run.json: a report is of one run, and run.json is one"),
        (("none.json", "--output", "a.html"), "none.json: there is no such file"),
        (("none.toml", "--output", "a.html"), "none.toml"),
        (("other.toml", "--output", "a.md"), "a.md: a Markdown report is of a run; name one, or write a page (.html)"),
        (("run.json", "x.toml", "--output", "a.md"), "a.md: a Markdown report holds no sweeps; write a page (.html)"),
        (("mine.html", "--output", "a.html"), "mine.html: "),
        (("run.json", "--output", "mine.html"), "mine.html: not replaced, as it is not a report of pytest-vllmperf"),
        (("run.json", "--output", "mine.html/a.html"), "mine.html/a.html: cannot be written: Not a directory"),
        (("run.json", "--output", "folder.html"), "folder.html: it is not a regular file"),
    ],
)
def test_bad_input_is_one_line(run: Path, capsys: Capture, arguments: tuple[str, ...], told: str) -> None:
    Path("mine.html").write_text("mine", encoding="utf-8")
    Path("folder.html").mkdir()
    assert report(*arguments) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert Path("mine.html").read_text(encoding="utf-8") == "mine"


def test_a_page_without_plotly(run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    assert report(run, "--output", "a.html") == 2
    assert (
        capsys.readouterr().err == "vllmperf: a report as a page needs Plotly: pip install 'pytest-vllmperf[report]'\n"
    )
    assert not Path("a.html").exists()
    assert report(run, "--output", "a.md") == 0


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_trends_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VLLMPERF_HISTORY", raising=False)
    for day, one in enumerate(story([1000.0] * 12 + [900.0], change_at=12, soft={**SOFT, "driver": "590.10"})):
        runs.write(Path(f"run{day:02}.json"), one)
    earlier = sorted(map(str, tmp_path.glob("run*.json")))[:-1]
    assert cli.main(["history", "add", *earlier]) == 0
    assert report("run12.json", "--history", "vllmperf-history.db", "--output", name) == 0
    assert report("run12.json", "--output", f"default-{name}", "--history") == 0
    text = Path(name).read_text(encoding="utf-8")
    assert Path(f"default-{name}").read_text(encoding="utf-8") == text
    assert "1 change in 1 metric of 13 runs: 1 for the worse, 0 for the better" in text
    assert "driver 580.95 -> 590.10" in text.replace("&gt;", ">")
    assert "WORSE" in text
    assert "1,000 -&gt; 900 tok/s" in text or "1,000 -> 900 tok/s" in text
    assert report("run12.json", "--output", f"without-{name}") == 0
    assert "1 for the worse" not in Path(f"without-{name}").read_text(encoding="utf-8")


def test_trends_that_cannot_be_read(run: Path, capsys: Capture) -> None:
    Path("study.toml").write_text(STUDY, encoding="utf-8")
    for arguments, told in (
        ((run, "--history", "none.db"), "none.db: there is no such history"),
        (("study.toml", "--history", "none.db"), "--history: trends are those of a run's checks"),
    ):
        assert report(*arguments, "--output", "a.html") == 2
        said = capsys.readouterr()
        assert told in said.err
        assert said.err.count("\n") == 1
        assert not Path("a.html").exists()
