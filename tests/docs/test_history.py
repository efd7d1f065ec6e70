"""docs/history.md: its commands run, its options exist, and its list is what such a history gives."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.history.database import TIMEOUT_S
from pytest_vllmperf.history.finding import MIN_CHANGE
from pytest_vllmperf.report import units
from pytest_vllmperf.report.pages.trends import MOST_SIZE, MOST_VALUES
from pytest_vllmperf.stats.changes import MAX_P, WINDOW
from pytest_vllmperf.storage import runs
from tests.history.material import story

Capture = pytest.CaptureFixture[str]
PAGE = (Path(__file__).parents[2] / "docs" / "history.md").read_text(encoding="utf-8")
OF_OTHERS = {"--vllmperf-json", "--vllmperf-history", "--history"}
"""Options that it names and that are not those of the command."""
COMMANDS = [line.split("#")[0].strip() for line in PAGE.splitlines() if line.startswith("    vllmperf history")]


def test_its_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VLLMPERF_HISTORY", raising=False)
    runs.write(tmp_path / "run.json", story([1.0])[0])
    assert len(COMMANDS) == 5
    for command in COMMANDS:
        assert cli.main(shlex.split(command)[1:]) == 0, command
    assert (tmp_path / "vllmperf-history.db").exists()
    assert (tmp_path / "vllmperf-history.html").exists()


def test_its_options_exist(capsys: Capture) -> None:
    told = ""
    for action in ("add", "show", "plot", "runs", "remove"):
        with pytest.raises(SystemExit):
            cli.main(["history", action, "--help"])
        told += capsys.readouterr().out
    named = set(re.findall(r"`(?:--[a-z-]+[^`]*)`", PAGE))
    options = {option for one in named for option in re.findall(r"--[a-z-]+", one)} - OF_OTHERS
    assert options >= {"--min-change", "--metrics", "--database", "--timeout", "--all", "--json", "--dry-run"}
    assert [option for option in options if option not in told] == []


def test_its_defaults_are_those() -> None:
    assert f"smallest change that is listed ({units.margin(MIN_CHANGE)})" in PAGE
    assert f"`--p-value {MAX_P}`, `--window {WINDOW}`" in PAGE
    assert f"`--timeout` seconds at most ({TIMEOUT_S:g})" in PAGE
    of_reports = " ".join((Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8").split())
    assert f"it is locked for {TIMEOUT_S:g} seconds" in of_reports
    assert f"the newest {MOST_VALUES} values of a series" in of_reports
    assert f"as many charts as fit into {MOST_SIZE // 1000} kB" in of_reports
