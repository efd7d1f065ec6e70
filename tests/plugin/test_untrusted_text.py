"""Names, reasons and what engines say may hold anything: it is escaped wherever it is shown."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from pytest_vllmperf.cli import main

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

# In Python's source: a sequence of ANSI, a command of GitHub's on a line of its own, one of Azure's, NUL, a bar.
EVIL = r"a\x1b[31mb\n::error::forged\n##[error]x\0c|d`e\\f"

NAME = EVIL.replace("]", "")  # which no name of a check may hold

CONFTEST = f"""
from pytest_vllmperf.engines import simulated
from pytest_vllmperf.errors import EngineStartError

class Rude(simulated.SimulatedEngine):
    def __init__(self, spec, start=0):
        if spec.args.get("fail") == "load":
            raise EngineStartError("{EVIL}", "log: {EVIL}")
        super().__init__(spec, start)

simulated.SimulatedEngine = Rude
"""


@pytest.fixture
def rude(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose engines say what a terminal or a CI would obey."""
    from pytest_vllmperf.engines import simulated

    monkeypatch.setattr(simulated, "SimulatedEngine", simulated.SimulatedEngine)  # which the conftest replaces
    project.write("conftest.py", CONFTEST)
    return project


def harmless(text: str) -> bool:
    lines = text.splitlines()
    commands = [line for line in lines if line.strip().startswith("::") or "##[" in line]
    return not commands and not [sign for sign in text if unicodedata.category(sign) == "Cc" and sign not in "\n\t"]


def test_what_an_engine_says(rude: Project, workers: list[str]) -> None:
    rude.perf_tests(fail="load")
    result = rude.run("--vllmperf", "-rA", "--junitxml=report.xml", *workers)
    result.assert_outcomes(failed=1)
    shown = result.stdout.str()
    for words in (r"a\x1b[31mb", r"\x3a:error::forged", r"\x23#[error]x\x00c|d`e\f", r"log: a\x1b[31mb"):
        assert words in shown
    assert harmless(shown)
    ET.parse(rude.root / "report.xml")


def test_why_a_test_is_skipped(rude: Project) -> None:
    rude.write("conftest.py", CONFTEST.replace("EngineStartError", "EngineUnsupportedError"))
    rude.perf_tests(fail="load", marks=['@pytest.mark.vllmperf(unsupported="skip")'])
    result = rude.run("--vllmperf", "-rs")
    result.assert_outcomes(skipped=1)
    assert "SKIPPED" in result.stdout.str()
    assert harmless(result.stdout.str())


def test_the_names_of_checks(project: Project, workers: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    project.perf_tests(check=f'vllmperf.check(run, name="{NAME}")')
    for option in ("--vllmperf-update", "--vllmperf"):
        result = project.run(option, "--junitxml=report.xml", *workers)
        result.assert_outcomes(passed=1)
        assert harmless(result.stdout.str())
        (row,) = [line for line in result.outlines if re.match(r"test_chat #.*  (RECORDED|OK)( |$)", line)]
        assert r"\x00c|d`e\f " in row
        names = [node.get("name") for node in ET.parse(project.root / "report.xml").iter("property")]
        assert any(r"\x00c" in str(name) for name in names)
    project.perf_tests(check=f'vllmperf.check(run, name="{NAME}")', step_seconds=0.02)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    assert harmless(result.stdout.str())
    capsys.readouterr()
    baseline = str(project.baseline())
    folder = str(project.root / "baselines")
    for command in (["baseline", "list", "--baselines", folder], ["baseline", "show", baseline],
                    ["baseline", "diff", baseline, baseline], ["check", baseline, baseline]):  # fmt: skip
        for extra in ([], ["--json"]):
            assert main([*command, *extra]) == 0
            assert harmless(capsys.readouterr().out)
    assert main(["baseline", "show", baseline, "--check", "\x1b[2J\n::error::x"]) == 2
    assert harmless(capsys.readouterr().err)


def test_reasons(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a file that somebody else wrote: the option takes no such text."""
    project.perf_tests()
    project.record("--vllmperf-reason=REASON")
    forged = project.baseline().read_text().replace("REASON", r"it is\u001b[31m red\n::error::forged")
    project.baseline().write_text(forged)
    capsys.readouterr()
    assert main(["baseline", "list", "--baselines", str(project.root / "baselines")]) == 0
    shown = capsys.readouterr().out
    assert r"it is\x1b[31m red" in shown
    assert harmless(shown)


def test_scorecards(project: Project) -> None:
    body = []
    for number, name in enumerate((r"a|b\\|c`d", r"e\x1b[2J<i>")):
        body += [f'@pytest.mark.scorecard("card | `x`", baseline="{name}", configuration="{name}")',
                 '@pytest.mark.vllm("sim", backend="simulated")', f"def test_{number}(vllmperf):",
                 "    vllmperf.measure(WORK)"]  # fmt: skip
    project.module("\n".join(body))
    result = project.run("--vllmperf", "--vllmperf-scorecards=cards")
    result.assert_outcomes(passed=2)
    assert harmless(result.stdout.str())
    (card,) = (project.root / "cards").glob("*.md")
    text = card.read_text()
    assert harmless(text)
    assert text.startswith("# card \\| \\`x\\`: simulated\n")
    assert r"| a\|b\\\|c\`d " in text
    assert r"| e\\x1b[2J\<i> " in text


@pytest.mark.parametrize("marker", [r'backend="x\x1b[31m\n::error::y"', r"per_gpu={'(\x1b\n::error::': {}}"])
def test_markers_that_are_not_valid(project: Project, marker: str) -> None:
    project.module(f'@pytest.mark.vllm("sim", {marker})\ndef test_one(vllmperf): pass')
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert harmless(result.stdout.str() + result.stderr.str())
