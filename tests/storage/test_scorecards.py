"""Scorecards as files: written whole or not at all, and checked when they are read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.scorecard import Line, Row, Scorecard
from pytest_vllmperf.storage.scorecards import check_folder, read_rows, write_scorecards
from tests.faults import files_up_to

STEM = "llama-3-8b-nvidia-h200"


def row(configuration: str, speed: float = 100.0, **changed: Any) -> Row:
    told: dict[str, Any] = {
        "card": "Llama 3 8B",
        "configuration": configuration,
        "baseline": "bf16",
        "engine": f"llama {configuration}",
        "profile": "nvidia-h200",
        "workload": {"key": "abc"},
        "engines": (EngineSamples(discarded=0, iterations=2, samples={"output_throughput": [speed, speed + 0.5]}),),
        "outputs": ((1, 2, 3),),
    }
    return Row(**{**told, **changed})


def card(*rows: Row, name: str = "Llama 3 8B", profile: str = "nvidia-h200") -> Scorecard:
    return Scorecard(name, profile, "bf16", tuple(Line(one, None, None, None) for one in rows), ())


def text(one: Scorecard) -> str:
    return f"# {one.name}: {', '.join(line.row.configuration for line in one.lines)}\n"


FULL = card(
    row("bf16", gpus=1, gpu_hour_price=2.5), row("awq", 250.0, problems=(Problem("length", "a request was cut short"),))
)


def test_each_card_is_written_for_people_and_for_programs(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "cards"
    other = card(row("bf16"), name="Qwen", profile="cpu")
    written = write_scorecards([FULL, other], folder, text)
    assert written == [folder / name for name in (f"{STEM}.md", f"{STEM}.json", "qwen-cpu.md", "qwen-cpu.json")]
    assert sorted(folder.iterdir()) == sorted(written)
    assert written[0].read_text(encoding="utf-8") == text(FULL)
    stored = json.loads(written[1].read_text(encoding="utf-8"))
    assert {name: stored[name] for name in stored if name != "rows"} == {
        "schema": "pytest-vllmperf/scorecard",
        "version": 1,
        "name": "Llama 3 8B",
        "profile": "nvidia-h200",
        "baseline": "bf16",
    }
    assert list(read_rows(written[1])) == [line.row for line in FULL.lines]


def test_a_file_can_be_reviewed(tmp_path: Path) -> None:
    lines = write_scorecards([FULL], tmp_path, text)[1].read_text(encoding="utf-8").splitlines()
    assert '"output_throughput": [100, 100.5]' in [line.strip() for line in lines]


def test_two_cards_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    written = write_scorecards([FULL, card(row("bf16"), name="llama/3 8b")], tmp_path, text)
    assert [path.name for path in written[::2]] == [f"{STEM}.md", "llama-3-8b-2-nvidia-h200.md"]


def test_an_older_card_is_replaced(tmp_path: Path) -> None:
    write_scorecards([card(row("bf16"))], tmp_path, text)
    written = write_scorecards([FULL], tmp_path, text)
    assert written[0].read_text(encoding="utf-8") == text(FULL)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_card_that_is_a_link_stays_one(tmp_path: Path) -> None:
    shared, folder = tmp_path / "shared.md", tmp_path / "cards"
    folder.mkdir()
    (folder / f"{STEM}.md").symlink_to(shared)
    write_scorecards([FULL], folder, text)
    assert (folder / f"{STEM}.md").is_symlink()
    assert shared.read_text(encoding="utf-8") == text(FULL)


def test_nothing_to_write_or_nowhere_to_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "cards"
    assert write_scorecards([], folder, text) == []
    assert not folder.exists()
    assert write_scorecards([FULL], None, text) == []


def test_a_folder_that_is_a_file_is_an_error_and_stays(tmp_path: Path) -> None:
    folder = tmp_path / "cards"
    folder.write_text("mine")
    with pytest.raises(BaselineError) as caught:
        write_scorecards([FULL], folder, text)
    assert str(caught.value) == f"{folder}: the scorecard could not be written: File exists"
    assert folder.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_that_cannot_be_replaced_is_an_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    taken = tmp_path / f"{STEM}.md"
    taken.mkdir()
    with pytest.raises(BaselineError) as caught:
        write_scorecards([FULL], tmp_path, text)
    assert str(caught.value) == f"{taken}: the scorecard could not be written: Is a directory"
    assert list(tmp_path.iterdir()) == [taken]


def test_a_full_disk_is_an_error_and_leaves_the_older_card(tmp_path: Path) -> None:
    write_scorecards([FULL], tmp_path, text)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with files_up_to(20), pytest.raises(BaselineError) as caught:
        write_scorecards([card(row("bf16", 7.0))], tmp_path, lambda _: "x" * 100)
    assert str(caught.value) == f"{tmp_path / STEM}.md: the scorecard could not be written: File too large"
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def changed(tmp_path: Path, **keys: Any) -> str:
    content = json.loads(write_scorecards([FULL], tmp_path, text)[1].read_text(encoding="utf-8"))
    return json.dumps({**content, **keys})


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"schema": None}, "not a scorecard of pytest-vllmperf (its schema is None); name a JSON file that"),
        ({"schema": "pytest-vllmperf/baseline"}, "(its schema is 'pytest-vllmperf/baseline'); name a JSON file that"),
        ({"version": 2}, "written by a newer pytest-vllmperf (schema version 2, this one reads 1); upgrade the plugin"),
        ({"version": None}, "schema version None is not 1; measure it again with --vllmperf-scorecards"),
        ({"more": 1}, "more: Extra inputs are not permitted; restore it from version control, or measure it again"),
        ({"rows": [{}]}, "rows.0.card: Field required; restore it from version control, or measure it again with"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(tmp_path: Path, keys: dict[str, Any], told: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(changed(tmp_path, **keys))
    with pytest.raises(BaselineError) as caught:
        read_rows(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_short_or_not_there_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    with pytest.raises(BaselineError, match=r"no such file$"):
        read_rows(path)
    path.write_text(changed(tmp_path)[:-50])
    with pytest.raises(
        BaselineError,
        match=r"not JSON, or truncated .*; restore it from version control, or "
        "measure it again",
    ):
        read_rows(path)


def test_a_sample_that_cannot_be_is_told_with_its_place(tmp_path: Path) -> None:
    bad = row("awq").model_copy(update={"engines": (*row("a").engines, *row("b", -5.0).engines)})
    path = write_scorecards([card(row("bf16"), bad)], tmp_path, text)[1]
    with pytest.raises(BaselineError) as caught:
        read_rows(path)
    assert str(caught.value).startswith(f"{path}: awq: output_throughput: engine 2, sample 1: -5.0 is not a positive")


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "docs" / "studies").glob("*.json")), ids=str)
def test_the_studies_can_be_read(file: Path) -> None:
    assert read_rows(file)


def test_a_folder_is_looked_at_before_anything_is_measured(tmp_path: Path) -> None:
    check_folder(None)
    check_folder(tmp_path / "deep" / "cards")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(BaselineError, match="scorecards cannot be written"):
        check_folder(tmp_path / "file" / "cards")


def test_cards_of_long_names_have_a_file_each(tmp_path: Path) -> None:
    cards = [card(row("bf16"), name="x" * 300 + end) for end in "ab"]
    written = write_scorecards(cards, tmp_path, text)
    assert len(set(written)) == 4
    assert [path.read_text(encoding="utf-8") for path in written[::2]] == [text(one) for one in cards]


def test_a_name_that_is_no_unicode_can_be_written(tmp_path: Path) -> None:
    written = write_scorecards([card(row("b\udcff"), name="\udcff")], tmp_path, text)
    assert read_rows(written[1])[0].configuration == "b\\udcff"


def test_what_a_killed_run_has_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / f".vllmperf-{'0' * 16}.tmp"
    left.write_text("half")
    os.utime(left, (1e9, 1e9))
    write_scorecards([FULL], tmp_path, text)
    assert not left.exists()


def test_a_folder_of_too_long_a_name_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="scorecards cannot be written: File name too long"):
        check_folder(tmp_path / ("x" * 300))
