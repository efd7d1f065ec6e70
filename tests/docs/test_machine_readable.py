"""docs/machine-readable.md: its snippet runs, and it names every form and every kind of rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_vllmperf.interchange.runs.formats import RUN_FORMATS
from pytest_vllmperf.records.frames import COLUMNS, REQUEST_COLUMNS
from pytest_vllmperf.storage import runs
from tests.reporting import hostile_run

PAGE = (Path(__file__).parents[2] / "docs" / "machine-readable.md").read_text(encoding="utf-8")


def test_the_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    runs.write(Path("run.json"), hostile_run())
    snippet, _of_a_test = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(snippet, "machine-readable.md", "exec"), names)
    assert "OK 1.125 ((1.125, 1.25), (1.5,))" in capsys.readouterr().out
    assert list(names["frame"].columns) == list(COLUMNS["samples"])  # type: ignore[attr-defined]


def test_every_form_and_every_kind_of_rows_has_its_line() -> None:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    told = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert told == ["rows", *(f'"{kind}"' for kind in COLUMNS), *REQUEST_COLUMNS, "--to", *RUN_FORMATS]
