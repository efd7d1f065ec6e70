"""The program that says whether two sweeps agree: on samples whose ratio is known, and on those of the study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.verdict.conftest import bench

sweeps = bench("sweeps")

STUDY = Path(__file__).parents[2] / "docs" / "studies"
BEFORE = [1.0, 1.1, 0.9, 1.05]


def results(path: Path, factor: float) -> str:
    """The results of a sweep of two points, as far as they are read."""
    engine = {"samples": {metric: [factor * value for value in BEFORE] for metric in sweeps.METRICS}}
    points: list[dict[str, Any]] = [{"settings": {"a": size, "b": 1}, "engines": [engine]} for size in (1, 2)]
    path.write_text(json.dumps({"points": points}))
    return str(path)


def test_what_differs_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [results(tmp_path / f"{factor}.json", factor) for factor in (1.0, 2.0)]
    kept = str(tmp_path / "kept.json")
    monkeypatch.setattr("sys.argv", ["sweeps", *files, kept])
    sweeps.main()
    told = capsys.readouterr().out
    assert told.count("a=1, b=1") == told.count("a=2, b=1") == 1
    assert told.count("2.000 [") == told.count(" differs") == 6
    monkeypatch.setattr("sys.argv", ["sweeps", kept])
    sweeps.main()
    assert capsys.readouterr().out == told


def test_the_table_of_the_study_is_that_of_its_samples() -> None:
    rows = sweeps.table(*sweeps.both([str(STUDY / "samples" / "two-gpus-nvidia-h200.json")]).values()).splitlines()[2:]
    text = (STUDY / "two-gpus.md").read_text(encoding="utf-8")
    assert len(rows) == 8
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert f"| {' | '.join(cells)} |" in text
