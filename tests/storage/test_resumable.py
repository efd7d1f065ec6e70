"""Results files that a command goes on with: one writer, and nothing in them is lost."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.storage import resumable


def test_a_second_writer_is_refused_while_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    with (
        resumable.only_writer(path, "sweep"),
        pytest.raises(BaselineError, match=r"results\.json: another sweep writes into it.*; name another file"),
        resumable.only_writer(path, "sweep"),
    ):
        pass
    with resumable.only_writer(path, "sweep"):
        resumable.write(path, "{}\n", "points")
    assert path.read_text() == "{}\n"


def test_a_disk_that_is_full_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.json"
    resumable.write(path, "old", "steps")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pytest_vllmperf.storage.atomic.os.replace", full)
    with pytest.raises(BaselineError, match=r"cannot be written: No space left on device; the steps in it are safe"):
        resumable.write(path, "new", "steps")
    assert path.read_text() == "old"
