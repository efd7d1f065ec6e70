"""`vllmperf scorecard`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.comparing.scorecards import scorecards
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.scorecard import Row
from pytest_vllmperf.report.scorecards import markdown
from pytest_vllmperf.storage.scorecards import read_rows, write_scorecards

Capture = pytest.CaptureFixture[str]


def row(configuration: str, speed: float, **changed: Any) -> Row:
    samples = {"output_throughput": [speed] * 3, "request_throughput": [speed / 100] * 3}
    told: dict[str, Any] = {
        "card": "formats",
        "configuration": configuration,
        "baseline": "full",
        "engine": configuration,
        "profile": "nvidia-h200",
        "workload": {"key": "abc"},
        "engines": (EngineSamples(discarded=0, iterations=3, samples=samples),) * 2,
    }
    return Row(**{**told, **changed})


def written(folder: Path, *rows: Row) -> Path:
    return next(path for path in write_scorecards(scorecards(rows), folder, markdown) if path.suffix == ".json")


def merge(*arguments: str | Path) -> int:
    return cli.main(["scorecard", *(str(one) for one in arguments)])


def test_rows_of_several_files_stand_side_by_side(tmp_path: Path, capsys: Capture) -> None:
    files = [written(tmp_path / "1", row("full", 1000)), written(tmp_path / "2", row("awq", 2000))]
    assert merge(*files) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0] == "formats: nvidia-h200"
    assert "output throughput over full (99 % CI): awq 2x" in told
    assert not list(tmp_path.glob("*.md"))


def test_the_later_file_counts(tmp_path: Path, capsys: Capture) -> None:
    old = written(tmp_path / "1", row("full", 1000), row("awq", 1500))
    new = written(tmp_path / "2", row("awq", 3000))
    assert merge(old, new) == 0
    assert "awq 3x" in capsys.readouterr().out
    assert merge(new, old) == 0
    assert "awq 1.5x" in capsys.readouterr().out


def test_another_baseline_can_be_chosen(tmp_path: Path, capsys: Capture) -> None:
    assert merge(written(tmp_path, row("full", 1000), row("awq", 2000)), "--baseline", "awq") == 0
    assert "output throughput over awq (99 % CI): full 0.5x" in capsys.readouterr().out


def test_another_kind_of_hardware_makes_another_card(tmp_path: Path, capsys: Capture) -> None:
    files = [written(tmp_path / name, row("full", 1000, profile=name)) for name in ("nvidia-h200", "nvidia-rtx-4090")]
    assert merge(*files) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("formats: ")] == [
        "formats: nvidia-h200",
        "formats: nvidia-rtx-4090",
    ]


def test_the_card_is_written_and_can_be_merged_again(tmp_path: Path, capsys: Capture) -> None:
    files = [written(tmp_path / "1", row("full", 1000)), written(tmp_path / "2", row("awq", 2000))]
    assert merge(*files, "--output", tmp_path / "cards") == 0
    stem = tmp_path / "cards" / "formats-nvidia-h200"
    assert capsys.readouterr().out.splitlines()[-2:] == [f"written: {stem}.md", f"written: {stem}.json"]
    assert "| awq " in stem.with_suffix(".md").read_text()
    assert [one.configuration for one in read_rows(stem.with_suffix(".json"))] == ["full", "awq"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "not JSON, or truncated"),
        (
            '{"schema": "pytest-vllmperf/baseline", "version": 3, "tests": {}}',
            "not a scorecard of pytest-vllmperf (its schema is 'pytest-vllmperf/baseline'); name a JSON file that "
            "--vllmperf-scorecards has written",
        ),
    ],
)
def test_a_file_that_is_no_scorecard_is_refused_in_one_line(
    tmp_path: Path, capsys: Capture, content: str, told: str
) -> None:
    (tmp_path / "card.json").write_text(content)
    assert merge(tmp_path / "card.json") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"vllmperf: {tmp_path / 'card.json'}: {told}")
    assert error.count("\n") == 1


def test_a_missing_file_is_named(tmp_path: Path, capsys: Capture) -> None:
    assert merge(tmp_path / "gone.json") == 2
    assert capsys.readouterr().err == f"vllmperf: {tmp_path / 'gone.json'}: no such file\n"


def test_a_sample_that_cannot_be_one_is_refused(tmp_path: Path, capsys: Capture) -> None:
    file = written(tmp_path, row("full", 1000))
    content = json.loads(file.read_text())
    content["rows"][0]["engines"][0]["samples"]["output_throughput"][1] = -5
    file.write_text(json.dumps(content))
    assert merge(file) == 2
    assert (
        "full: output_throughput: engine 1, sample 2: -5.0 is not a positive finite number" in capsys.readouterr().err
    )


def test_a_folder_that_cannot_be_written_is_told_first(tmp_path: Path, capsys: Capture) -> None:
    file = written(tmp_path, row("full", 1000))
    assert merge(file, "--output", file) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "scorecards cannot be written" in captured.err
