"""`vllmperf baseline prune`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.storage.baselines import load
from tests.cli.conftest import Write, entry


@pytest.fixture
def kept(write: Write, tmp_path: Path) -> Path:
    """The file of a module that exists, beside that of one that does not."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("")
    write("baselines/h200/tests/test_gone.json", test_x=entry())
    return write("baselines/h200/tests/test_a.json", long=entry(sessions=5), short=entry(sessions=2))


def prune(tmp_path: Path, *arguments: str) -> int:
    folders = ["--baselines", str(tmp_path / "baselines"), "--rootdir", str(tmp_path)]
    return cli.main(["baseline", "prune", *folders, *arguments])


def sessions(path: Path) -> dict[str, list[str]]:
    return {name: [one.recorded[:10] for one in e.sessions] for name, e in load(path).tests.items()}


def test_the_newest_sessions_stay_and_files_of_no_module_go(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune(tmp_path, "--keep", "3") == 0
    assert sessions(kept) == {
        "long": ["2026-01-03", "2026-01-04", "2026-01-05"],
        "short": ["2026-01-01", "2026-01-02"],
    }
    assert not kept.with_name("test_gone.json").exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{kept}: long: 2 of 5 sessions"
    assert lines[1].startswith(f"{kept.with_name('test_gone.json')}: its test module does not exist")
    assert prune(tmp_path, "--keep", "3") == 0
    assert capsys.readouterr().out == "nothing to prune\n"


def test_a_dry_run_changes_nothing(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = kept.read_bytes()
    assert prune(tmp_path, "--keep", "1", "--dry-run", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["dry_run"] is True
    assert len(told["done"]) == 3
    assert kept.read_bytes() == before
    assert kept.with_name("test_gone.json").exists()


def test_by_default_twenty_stay(kept: Path, tmp_path: Path) -> None:
    assert prune(tmp_path) == 0
    assert [len(dates) for dates in sessions(kept).values()] == [5, 2]


@pytest.mark.parametrize("keep", ["0", "-2"])
def test_none_to_keep_is_refused(keep: str, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prune(tmp_path, "--keep", keep) == 2
    assert capsys.readouterr().err == f"vllmperf: --keep: {keep} would leave no session; keep at least 1\n"
    assert sessions(kept)["long"][0] == "2026-01-01"


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prune(tmp_path) == 2
    assert "there is no such folder" in capsys.readouterr().err
