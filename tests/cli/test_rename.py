"""`vllmperf baseline rename`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.storage.baselines import BaselineStore, Changes, load
from tests.cli.conftest import Write, entry

FAST, SLOW = entry(2000.0), entry(1000.0)


def rename(tmp_path: Path, old: str, new: str, *arguments: str) -> int:
    folders = ["--baselines", str(tmp_path / "baselines"), "--rootdir", str(tmp_path)]
    return cli.main(["baseline", "rename", old, new, *folders, *arguments])


def stored(tmp_path: Path) -> dict[str, set[str]]:
    """The names in each file, by its path below the folder."""
    root = tmp_path / "baselines"
    return {str(path.relative_to(root)): set(load(path).tests) for path in sorted(root.rglob("*.json"))}


@pytest.fixture
def kept(write: Write, tmp_path: Path) -> Path:
    """Two profiles of one module that exists."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("")
    names = {"test_x": SLOW, "test_x # second": SLOW, "test_x[awq-4]": SLOW, "test_xy": SLOW, "TestC::test_x": SLOW}
    write("baselines/h200/tests/test_a.json", **names)
    write("baselines/4090/tests/test_a.json", test_x=FAST)
    return tmp_path / "baselines"


def test_a_test_takes_its_checks_and_parameters_along_in_all_profiles(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rename(tmp_path, "tests/test_a.py::test_x", "tests/test_a.py::test_new") == 0
    assert stored(tmp_path) == {
        "4090/tests/test_a.json": {"test_new"},
        "h200/tests/test_a.json": {"test_new", "test_new # second", "test_new[awq-4]", "test_xy", "TestC::test_x"},
    }
    assert load(kept / "h200/tests/test_a.json").tests["test_new[awq-4]"] == SLOW
    assert load(kept / "4090/tests/test_a.json").tests["test_new"] == FAST
    assert capsys.readouterr().out.splitlines() == [
        "4090: tests/test_a.py::test_x -> tests/test_a.py::test_new",
        "h200: tests/test_a.py::test_x -> tests/test_a.py::test_new",
        "h200: tests/test_a.py::test_x # second -> tests/test_a.py::test_new # second",
        "h200: tests/test_a.py::test_x[awq-4] -> tests/test_a.py::test_new[awq-4]",
    ]


@pytest.mark.parametrize(
    ("old", "new", "gone", "come"),
    [
        ("test_x[awq-4]", "test_x[awq-8]", "test_x[awq-4]", "test_x[awq-8]"),
        ("TestC", "TestD", "TestC::test_x", "TestD::test_x"),
        ("test_x # second", "test_x # last", "test_x # second", "test_x # last"),
    ],
    ids=["parameters", "class", "check"],
)
def test_a_part_is_renamed_alone(kept: Path, tmp_path: Path, old: str, new: str, gone: str, come: str) -> None:
    before = stored(tmp_path)["h200/tests/test_a.json"]
    assert rename(tmp_path, f"tests/test_a.py::{old}", f"tests/test_a.py::{new}") == 0
    assert stored(tmp_path)["h200/tests/test_a.json"] == before - {gone} | {come}
    assert stored(tmp_path)["4090/tests/test_a.json"] == {"test_x"}


def test_a_module_moves_with_all_its_checks_and_its_file_goes(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {profile: load(kept / profile / "tests/test_a.json").tests for profile in ("4090", "h200")}
    assert rename(tmp_path, "tests/test_a.py", "perf/deep/test_b.py") == 0
    assert {profile: load(kept / profile / "perf/deep/test_b.json").tests for profile in before} == before
    assert not list(kept.rglob("test_a.json"))
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"note: perf/deep/test_b.py does not exist below {tmp_path.name}/"
    )


def test_a_test_moves_to_another_module(kept: Path, tmp_path: Path, write: Write) -> None:
    write("baselines/h200/tests/test_b.json", other=SLOW)
    assert rename(tmp_path, "tests/test_a.py::test_xy", "tests/test_b.py::test_z") == 0
    assert stored(tmp_path)["h200/tests/test_b.json"] == {"other", "test_z"}
    assert "test_xy" not in stored(tmp_path)["h200/tests/test_a.json"]


def test_a_file_that_is_a_test_by_itself(write: Write, tmp_path: Path) -> None:
    write("baselines/h200/tests/perf.json", **{"tests/perf.yaml": SLOW, "tests/perf.yaml # second": SLOW})
    assert rename(tmp_path, "tests/perf.yaml", "tests/load.yaml") == 0
    assert stored(tmp_path) == {"h200/tests/load.json": {"tests/load.yaml", "tests/load.yaml # second"}}


def test_a_dry_run_changes_nothing(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = stored(tmp_path)
    for arguments in (["--dry-run"], ["--dry-run", "--json"]):
        assert rename(tmp_path, "tests/test_a.py", "tests/test_b.py", *arguments) == 0
    text, data = capsys.readouterr().out.split("nothing was changed\n")
    assert "h200: tests/test_a.py::test_xy -> tests/test_b.py::test_xy" in text
    assert (json.loads(data)["changed"], len(json.loads(data)["renamed"])) == (False, 6)
    assert stored(tmp_path) == before


@pytest.mark.parametrize("new", ["tests/test_a.py::test_xy", "tests/test_b.py::test_x"], ids=["same file", "another"])
def test_a_baseline_is_never_overwritten(
    kept: Path, tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str], new: str
) -> None:
    write("baselines/h200/tests/test_b.json", test_x=FAST)
    before = {path: path.read_bytes() for path in kept.rglob("*.json")}
    assert rename(tmp_path, "tests/test_a.py::test_x", new) == 2
    assert "has a baseline of its own, which would be overwritten; nothing was renamed" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in kept.rglob("*.json")} == before


def fails_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Make the write of this number fail, and none after it."""
    real, seen = BaselineStore.write, []

    def write(store: BaselineStore, profile: str, module: str, changes: Changes) -> object:
        seen.append(module)
        if len(seen) == number:
            raise BaselineError("the disk is full")
        return real(store, profile, module, changes)

    monkeypatch.setattr(BaselineStore, "write", write)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("new", ["tests/test_a.py::test_new", "tests/test_b.py::test_x"], ids=["same file", "another"])
def test_all_files_or_none(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    number: int, new: str,
) -> None:  # fmt: skip
    before = {path: path.read_bytes() for path in kept.rglob("*.json")}
    fails_at(monkeypatch, number)
    code = rename(tmp_path, "tests/test_a.py::test_x", new)
    if "test_a" in new and number > 2:  # one write a profile
        assert code == 0
        return
    assert code == 2
    assert capsys.readouterr().err == "vllmperf: the disk is full; nothing was renamed\n"
    assert {path: path.read_bytes() for path in kept.rglob("*.json")} == before


def test_a_rename_that_was_killed_is_ended_by_the_same_command(kept: Path, tmp_path: Path) -> None:
    BaselineStore(kept).write("4090", "tests/test_b.py", Changes(entries={"test_x": FAST}))  # arrived, not removed
    assert rename(tmp_path, "tests/test_a.py::test_x", "tests/test_b.py::test_x") == 0
    assert stored(tmp_path) == {
        "4090/tests/test_b.json": {"test_x"},
        "h200/tests/test_a.json": {"test_xy", "TestC::test_x"},
        "h200/tests/test_b.json": {"test_x", "test_x # second", "test_x[awq-4]"},
    }


def test_what_another_run_appends_meanwhile_is_not_lost(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = BaselineStore.write
    store = BaselineStore(kept)

    def write(own: BaselineStore, profile: str, module: str, changes: Changes) -> object:
        if (profile, module) == ("h200", "tests/test_b.py") and changes.entries:
            real(store, "h200", "tests/test_a.py", Changes(appended={"test_x": entry(sessions=1)}))
        return real(own, profile, module, changes)

    monkeypatch.setattr(BaselineStore, "write", write)
    assert rename(tmp_path, "tests/test_a.py::test_x", "tests/test_b.py::test_x") == 2
    assert "not written: another program has changed 'test_x'; nothing was renamed" in capsys.readouterr().err
    assert len(load(kept / "h200/tests/test_a.json").tests["test_x"].sessions) == 6
    assert not list(kept.rglob("test_b.json"))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("tests/test_a.py::test_gone", "tests/test_a.py::test_n", "nothing is stored for tests/test_a.py::test_gone"),
        ("tests/test_a.py::test_xyz", "tests/test_a.py::n", "did you mean 'tests/test_a.py::test_xy'?"),
        ("tests/test_a.py::test_x", "tests/test_a.py::test_x", "OLD and NEW are the same"),
        ("tests/test_a.py::test_x", "tests/test_b.py", "one of OLD and NEW names a module and the other a test"),
        ("tests/test_a.py::test_x[1]", "tests/test_a.py::test_x", "one of OLD and NEW has parameters"),
        ("test_x", "tests/test_a.py::test_x", "OLD: 'test_x' is no node id; write it as pytest does"),
        ("tests/test_a.py", "../test_b.py", "NEW: '../test_b.py' is no node id"),
        ("tests/test_a.py", "/tmp/test_b.py", "NEW: '/tmp/test_b.py' is no node id"),
        ("tests/test_a.py", "\x1b[31m\n.py", "nothing"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_changes_nothing(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, line: str
) -> None:
    before = stored(tmp_path)
    if line == "nothing":  # a name as hostile as a file's may be: shown as escapes
        assert rename(tmp_path, old, new, "--dry-run") == 0
        assert "\x1b" not in capsys.readouterr().out
        return
    assert rename(tmp_path, old, new) == 2
    err = capsys.readouterr().err
    assert (line in err, err.count("\n")) == (True, 1)
    assert stored(tmp_path) == before


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rename(tmp_path, "a.py", "b.py") == 2
    assert "no such folder" in capsys.readouterr().err
