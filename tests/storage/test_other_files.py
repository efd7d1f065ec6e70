"""Files of other programs below the folder of baselines, and what is not a regular file."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.storage import versioned
from pytest_vllmperf.storage.baselines import BaselineFile, BaselineStore, Changes, load
from pytest_vllmperf.storage.scorecards import read_rows
from pytest_vllmperf.storage.versioned import dumps
from tests.storage.conftest import MODULE, entry

FOREIGN = ['{"name": "package"}', "[1, 2]", "7", '{"schema": "pytest-benchmark", "version": 2}', '"text"']


@pytest.fixture
def other(store: BaselineStore) -> Path:
    """Where another program has its file."""
    path = store.root / "h200" / "deep" / "package.json"
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize("text", FOREIGN)
def test_a_file_of_another_program_is_ignored(store: BaselineStore, other: Path, tmp_path: Path, text: str) -> None:
    other.write_text(text)
    store.write("h200", MODULE, Changes({"test_a": entry()}))
    store.validate(tmp_path)
    assert store.modules() == [("h200", "tests/test_chat")]
    assert other.read_text() == text


def test_so_is_a_large_one_and_a_folder(
    store: BaselineStore, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versioned, "LIMIT", 100)
    other.write_text("[" + "0, " * 100)
    other.with_name("folder.json").mkdir()
    store.validate(tmp_path)
    assert store.modules() == []


@pytest.mark.parametrize("text", FOREIGN)
def test_where_a_baseline_has_to_lie_it_is_refused(
    store: BaselineStore, other: Path, tmp_path: Path, text: str
) -> None:
    """The gate would have nothing to judge by, and an update would replace the file."""
    other.write_text(text)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "package.py").touch()
    for attempt in (
        lambda: store.validate(tmp_path),
        lambda: store.read("h200", "deep/package.py"),
        lambda: store.write("h200", "deep/package.py", Changes({"test_a": entry()})),
    ):
        with pytest.raises(BaselineError, match=r"not a baseline of pytest-vllmperf .*; move it elsewhere"):
            attempt()
    assert other.read_text() == text


@pytest.mark.parametrize("text", ["", "{", "// a comment\n{}", "\x00"])
def test_what_cannot_be_parsed_may_be_a_damaged_baseline(
    store: BaselineStore, other: Path, tmp_path: Path, text: str
) -> None:
    other.write_text(text)
    with pytest.raises(BaselineError, match="not JSON, or truncated"):
        store.validate(tmp_path)


def test_a_baseline_of_any_version_and_layout_is_one(store: BaselineStore, other: Path, tmp_path: Path) -> None:
    other.write_text(
        '{"tests": ' + '{"%s": 1}' % ("x" * 100_000) + ', "schema": "pytest-vllmperf/baseline", "version": 1}'
    )
    assert store.modules() == [("h200", "deep/package")]
    with pytest.raises(BaselineError, match="schema version 1 is not 6"):
        store.validate(tmp_path)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.path.relpath(path))


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [pipe, unix_socket, device])
def test_what_is_no_regular_file_is_one_line_and_never_waited_for(
    store: BaselineStore, tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.path("h200", MODULE)
    path.parent.mkdir(parents=True)
    monkeypatch.chdir(path.parent)
    make(path)
    for attempt in (
        lambda: store.read("h200", MODULE),
        lambda: store.validate(tmp_path),
        lambda: store.write("h200", MODULE, Changes({"test_a": entry()})),
        lambda: read_rows(path),
    ):
        with pytest.raises(BaselineError) as caught:
            attempt()
        assert str(caught.value) == f"{path}: cannot be read: it is not a regular file"
    assert store.modules() == []


def test_a_pipe_that_takes_the_place_of_the_file_meanwhile_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_text(dumps(BaselineFile()))
    opened = os.open

    def swapped(file: Path, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return opened(file, flags)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(BaselineError, match="it is not a regular file"):
        load(path)


@pytest.mark.parametrize("read", [load, read_rows])
def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(BaselineError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: it is 200 MiB; the limit is 64 MiB; ")


@pytest.mark.parametrize("read", [load, read_rows])
def test_a_name_that_is_too_long_is_one_line(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(BaselineError, match="cannot be read: File name too long"):
        read(tmp_path / ("x" * 300))
