"""`vllmperf check FOLDER FOLDER`: every file against that of the same path; what was not compared is never green."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.checking.history import Fitted
from pytest_vllmperf.cli import check_folders, judging
from pytest_vllmperf.records.samples import Entry
from tests.cli.conftest import HARD, Write, entry


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["check", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def folders(write: Write, tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with two files each, that are alike."""
    for side in ("a", "b"):
        write(f"{side}/nvidia-h200/test_chat.json", test_x=entry())
        write(f"{side}/nvidia-h200/tests/test_long.json", test_y=entry(), test_z=entry())
    return tmp_path / "a", tmp_path / "b"


def test_every_file_is_compared_with_its_own(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *folders)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "== nvidia-h200/test_chat.json"
    assert "== nvidia-h200/tests/test_long.json" in lines
    assert lines[-1] == "total: 2 files compared, 3 OK"
    assert max(map(len, lines)) <= 80


def test_one_slow_check_in_one_file_is_a_regression(
    folders: tuple[Path, Path], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("b/nvidia-h200/tests/test_long.json", test_y=entry(), test_z=entry(800.0))
    code, out, _ = run(capsys, *folders)
    assert code == 1
    assert "test_z: REGRESSED" in out
    assert out.splitlines()[-1] == "total: 2 files compared, 2 OK, 1 REGRESSED"


@pytest.mark.parametrize(("gone", "which"), [("b", "first"), ("a", "second")])
def test_a_file_without_a_counterpart_is_named_and_not_green(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], gone: str, which: str
) -> None:
    (tmp_path / gone / "nvidia-h200" / "test_chat.json").unlink()
    code, out, _ = run(capsys, *folders)
    assert code == 3
    lines = out.splitlines()
    assert f"nvidia-h200/test_chat.json: only in the {which} folder, so nothing was compared" in lines
    assert lines[-1] == "total: 1 file compared, 1 without a counterpart, 2 OK"


def test_a_missing_file_does_not_hide_a_regression(
    folders: tuple[Path, Path], write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b" / "nvidia-h200" / "test_chat.json").unlink()
    write("b/nvidia-h200/tests/test_long.json", test_y=entry(), test_z=entry(800.0))
    assert run(capsys, *folders)[0] == 1


def test_files_without_a_common_check_are_named(
    folders: tuple[Path, Path], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("b/nvidia-h200/test_chat.json", test_renamed=entry())
    code, out, _ = run(capsys, *folders)
    assert code == 3
    assert "nvidia-h200/test_chat.json: both files have no check in common" in out


def test_a_check_without_a_counterpart_is_not_green(
    folders: tuple[Path, Path], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("b/nvidia-h200/tests/test_long.json", test_y=entry())
    code, out, _ = run(capsys, *folders)
    assert code == 3
    assert "test_z: only in the first file, so nothing was compared" in out
    assert out.splitlines()[-1] == "total: 2 files compared, 1 check without a counterpart, 2 OK"


def test_other_hardware_in_one_file_is_not_comparable(
    folders: tuple[Path, Path], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("b/nvidia-h200/test_chat.json", test_x=entry(hard={**HARD, "gpu": "other"}))
    assert run(capsys, *folders)[0] == 3


def test_all_checks_share_one_error_budget_and_a_profile_is_read_once(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    real = judging.fitted

    def noted(path: Path, own: list[Entry]) -> Fitted:
        read.append(path)
        return real(path, own)

    monkeypatch.setattr(judging, "fitted", noted)
    result = check_folders.check_folders(*folders, explained=True)
    assert {one.basis.gated_metrics for one in result.files.values() if one.basis is not None} == {12}
    assert len({one.basis.a_fail for one in result.files.values() if one.basis is not None}) == 1
    assert len(read) == 1


def test_a_program_gets_all_of_it(
    folders: tuple[Path, Path], write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a" / "nvidia-h200" / "test_chat.json").unlink()
    write("b/nvidia-h200/tests/test_long.json", test_y=entry(), test_z=entry(800.0))
    code, out, _ = run(capsys, *folders, "--json")
    found = json.loads(out)
    assert code == found["exit_code"] == 1
    assert found["only_in_b"] == ["nvidia-h200/test_chat.json"]
    assert found["only_in_a"] == found["nothing_in_common"] == []
    assert found["totals"] == {"OK": 1, "REGRESSED": 1}
    [(name, file)] = found["files"].items()
    assert (name, file["exit_code"]) == ("nvidia-h200/tests/test_long.json", 1)
    assert file["checks"]["test_z"]["status"] == "REGRESSED"


def test_the_arguments_hold_for_all_files(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *folders, "--limit", "output_throughput=2000", "--gate", "ttft.p50")
    assert code == 1
    assert out.splitlines()[-1] == "total: 2 files compared, 3 BEYOND_LIMIT"


def test_a_custom_metric_of_one_file_may_be_named(
    folders: tuple[Path, Path], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "steps [ms, lower]"
    plain = entry()
    sessions = [
        session.model_copy(
            update={"engines": [one.model_copy(update={"recorded": {key: [10.0]}}) for one in session.engines]}
        )
        for session in plain.sessions
    ]
    judged = plain.judging.model_copy(update={"gate": [*plain.judging.gate, key]})
    own = plain.model_copy(update={"sessions": sessions, "judging": judged})
    for side in ("a", "b"):
        write(f"{side}/nvidia-h200/test_chat.json", test_x=own)
    assert run(capsys, *folders, "--limit", "steps=20")[0] == 0
    assert run(capsys, *folders, "--limit", "steps=5")[0] == 1
    code, _, err = run(capsys, *folders, "--limit", "stepps=5")
    assert code == 2
    assert "--limit: no metric has the name 'stepps'; did you mean 'steps'?" in err
    write("b/nvidia-h200/test_chat.json", test_x=entry())
    code, out, _ = run(capsys, *folders)
    assert code == 1
    assert "the baseline holds steps, which the new session did not record" in out


def test_broken_files_are_all_named(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    a, b = folders
    broken = [a / "nvidia-h200" / "test_chat.json", b / "nvidia-h200" / "tests" / "test_long.json"]
    for file in broken:
        file.write_text("{", encoding="utf-8")
    code, out, err = run(capsys, *folders)
    assert (code, out) == (2, "")
    assert all(str(file) in err for file in broken)
    assert len(err.splitlines()) == 2


def test_json_of_other_programs_is_no_baseline(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (folders[0] / "package.json").write_text('{"name": "mine"}', encoding="utf-8")
    assert run(capsys, *folders)[0] == 0


def test_a_folder_and_a_file_cannot_be_compared(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    file = folders[1] / "nvidia-h200" / "test_chat.json"
    for pair in ((folders[0], file), (file, folders[0])):
        code, out, err = run(capsys, *pair)
        assert (code, out) == (2, "")
        assert f"{folders[0]} is a folder and {file} is not; give two files, or two folders" in err


def test_a_folder_that_is_not_there_is_named(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    missing = folders[0].with_name("missing")
    for pair in ((folders[0], missing), (missing, folders[0])):
        assert run(capsys, *pair) == (2, "", f"vllmperf: {missing}: no such folder\n")


def test_a_folder_without_a_baseline_is_refused(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = run(capsys, folders[0], tmp_path / "empty")
    assert code == 2
    assert f"{tmp_path / 'empty'}: no baseline file in this folder" in err
    code, _, err = run(capsys, folders[0], tmp_path / "none")
    assert code == 2
    assert f"{tmp_path / 'none'}: no such folder" in err
