"""Traces in the user's folder: their names, what is replaced, and what cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vllmperf.records.kernels import KernelTrace
from pytest_vllmperf.storage.traces import drop_traces, keep_traces


@pytest.fixture
def made(tmp_path: Path) -> list[KernelTrace]:
    files = [tmp_path / f"{number}.json.gz" for number in range(2)]
    for file in files:
        file.write_text(file.name)
    return [KernelTrace(files[0]), KernelTrace(None, "the engine died"), KernelTrace(files[1])]


def test_they_are_called_after_test_and_engine(made: list[KernelTrace], tmp_path: Path) -> None:
    first, missing, third = keep_traces("tests/test_x.py::test_a[b]", made, tmp_path / "a" / "b")
    assert missing == KernelTrace(None, "the engine died")
    assert first.file is not None
    assert third.file is not None
    assert first.file.name.startswith("tests-test-x.py-test-a-b-")
    assert [one.name.rpartition("-")[2] for one in (first.file, third.file)] == ["engine1.json.gz", "engine3.json.gz"]
    assert [one.read_text() for one in (first.file, third.file)] == ["0.json.gz", "1.json.gz"]
    assert not any(one.file.exists() for one in made if one.file is not None)
    assert sorted((tmp_path / "a" / "b").iterdir()) == sorted([first.file, third.file])


def test_tests_whose_names_come_to_the_same_do_not_replace_each_other(tmp_path: Path) -> None:
    found = []
    for test in ("t.py::test[a_b]", "t.py::test[a-b]", "t.py::test[" + "x" * 500 + "]", "t.py::test[\ud800]"):
        (tmp_path / "made").touch()
        (one,) = keep_traces(test, [KernelTrace(tmp_path / "made")], tmp_path / "kept")
        found.append(one.file)
    assert len(set(found)) == len(list((tmp_path / "kept").iterdir())) == 4


def test_those_of_an_earlier_run_are_gone(made: list[KernelTrace], tmp_path: Path) -> None:
    keep_traces("t.py::test", made, tmp_path / "kept")
    (tmp_path / "kept" / "mine.json.gz").touch()
    assert keep_traces("t.py::test", [], tmp_path / "kept") == []
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["mine.json.gz"]


@pytest.mark.parametrize("broken", ["folder", "file"])
def test_what_cannot_be_written_is_told(made: list[KernelTrace], tmp_path: Path, broken: str) -> None:
    place = tmp_path / "kept"
    if broken == "folder":
        place.touch()
    else:
        drop_traces(made)  # somebody has emptied the temporary folder
    first, _, third = keep_traces("t.py::test", made, place)
    assert first.file is third.file is None
    assert "could not be written: " in first.reason
    assert not any(one.file.exists() for one in made if one.file is not None)
    assert place.is_file() or list(place.iterdir()) == []


def test_those_of_a_test_that_passed_are_removed(made: list[KernelTrace], tmp_path: Path) -> None:
    drop_traces(made)
    drop_traces(made)
    assert list(tmp_path.iterdir()) == []
