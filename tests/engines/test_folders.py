"""Temporary folders of runs: gone with the run, swept when it was killed, and nobody else's."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vllmperf.engines import folders
from pytest_vllmperf.engines.folders import RunFolder, compiled_code, keep, sockets_parent, sweep
from tests.engines.conftest import LONG

KILLED = """
import os, signal, sys
from pathlib import Path
from pytest_vllmperf.engines.folders import RunFolder, keep
made = RunFolder(Path(sys.argv[1]), "vp-")
(made.path / "engine.log").write_text("words")
(made.path / "tmp").mkdir()
(made.path / "tmp" / "large").write_text("x")
if "keep" in sys.argv:
    keep(made.path / "engine.log")
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_run(parent: Path, *words: str) -> Path:
    """What a run has left that was killed."""
    before = set(parent.iterdir())
    subprocess.run([sys.executable, "-c", KILLED, str(parent), *words], check=False, timeout=LONG)
    (left,) = set(parent.iterdir()) - before
    return left


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_it_is_private_and_gone_when_it_is_closed(tmp_path: Path) -> None:
    made = RunFolder(tmp_path, "vp-")
    assert made.path.parent == tmp_path
    assert made.path.stat().st_mode & 0o777 == 0o700
    (made.path / "deep").mkdir()
    (made.path / "deep" / "file").write_text("x")
    made.close()
    assert names(tmp_path) == set()


def test_a_run_that_lives_is_left_alone_and_one_that_was_killed_is_removed(tmp_path: Path) -> None:
    alive = RunFolder(tmp_path, "vp-")
    dead = killed_run(tmp_path)
    assert dead.exists()
    another = RunFolder(tmp_path, "vp-")
    assert names(tmp_path) == {alive.path.name, another.path.name}
    alive.close()
    another.close()


def test_of_kept_logs_the_rest_goes_and_the_newest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "KEPT_FOLDERS", 2)
    left = [killed_run(tmp_path, "keep") for _ in range(3)]
    for age, folder in enumerate(left):
        os.utime(folder / "keep", (1e9 - age, 1e9 - age))
    sweep(tmp_path, "vp-")
    assert names(tmp_path) == {left[0].name, left[1].name}
    assert names(left[0]) == {"engine.log", "keep", "run.lock"}


def test_logs_that_are_kept_stay_when_the_run_ends(tmp_path: Path) -> None:
    made = RunFolder(tmp_path, "vp-")
    for name in ("engine.log", "other.log", "rest"):
        (made.path / name).write_text("x")
    (made.path / "tmp").mkdir()
    (made.path / "link.log").symlink_to(tmp_path)
    keep(made.path / "engine.log")
    made.close()
    assert names(made.path) == {"engine.log", "other.log", "link.log", "keep", "run.lock"}
    sweep(tmp_path, "vp-")
    assert (made.path / "engine.log").exists()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "run.lock").write_text("")
    return folder


def test_what_is_not_ours_is_not_swept(tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    (place / "vp-link").symlink_to(outside)
    (place / "vp-file").write_text("")
    for name, lock in (("vp-without-lock", False), ("vp-public", True), ("other", True), ("vp-lock-is-link", False)):
        (place / name).mkdir(0o700)
        if lock:
            (place / name / "run.lock").write_text("")
    (place / "vp-public").chmod(0o755)
    (place / "vp-lock-is-link" / "run.lock").symlink_to(outside / "run.lock")
    before = names(place)
    sweep(place, "vp-")
    assert names(place) == before
    assert names(outside) == {"run.lock"}
    dead = killed_run(place)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    sweep(place, "vp-")
    assert dead.exists()


def test_links_in_a_dead_folder_are_not_followed(tmp_path: Path, outside: Path) -> None:
    dead = killed_run(tmp_path)
    (dead / "link").symlink_to(outside)
    sweep(tmp_path, "vp-")
    assert not dead.exists()
    assert names(outside) == {"run.lock"}


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def flock(fd: int, how: int) -> None:
        raise OSError(37, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        yield


def test_where_there_are_no_locks_a_folder_is_never_swept(tmp_path: Path, no_locks: None) -> None:
    made = RunFolder(tmp_path, "vp-")
    sweep(tmp_path, "vp-")
    assert names(made.path) == set()
    made.close()
    assert names(tmp_path) == set()


def test_a_folder_that_does_not_exist_has_nothing_to_sweep(tmp_path: Path) -> None:
    sweep(tmp_path / "none", "vp-")


def test_sockets_get_a_short_place_that_nobody_else_can_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(mode: int, uid: int = os.geteuid()) -> os.stat_result:
        return os.stat_result((mode, 0, 0, 0, uid, 0, 0, 0, 0, 0))

    known = {
        "/" + "x" * 43: found(0o40700),
        "/short": found(0o41777, 0),
        "/mine": found(0o40700),
        "/open": found(0o40777, 0),
        "/group": found(0o40770),
        "/theirs": found(0o40700, os.geteuid() + 1),
        "/file": found(0o100700),
        "relative": found(0o40700),
    }

    def stat_of(place: Path) -> os.stat_result:
        if str(place) not in known:
            raise FileNotFoundError(place)
        return known[str(place)]

    monkeypatch.setattr(Path, "stat", stat_of)
    monkeypatch.setattr(os, "access", lambda place, how: True)
    for refused in ("/" + "x" * 43, "/open", "/group", "/theirs", "/file", "relative", "/none", None, ""):
        assert sockets_parent([refused, "/mine"]) == Path("/mine"), refused
    assert sockets_parent(["/short", "/mine"]) == Path("/short")
    assert sockets_parent([None, "/none"]) is None


def test_compiled_code_lies_where_torch_looks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache_dir = pytest.importorskip("torch._inductor.runtime.cache_dir_utils")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for user in ("somebody", "do:main\\somebody"):
        monkeypatch.setattr("getpass.getuser", lambda user=user: user)
        assert str(compiled_code()) == cache_dir.default_cache_dir()


def test_compiled_code_that_others_can_write_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = compiled_code()
    assert folder is not None
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)  # as torch makes it
    assert compiled_code() == folder
    folder.chmod(0o775)
    assert compiled_code() is None
    folder.chmod(0o700)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert compiled_code() is None
    folder.unlink()
    monkeypatch.setattr("os.geteuid", lambda: 12345)
    assert compiled_code() is None


@pytest.mark.parametrize(("mode", "used"), [(0o700, True), (0o777, False), (0o775, False), (0o1777, True)])
def test_compiled_code_that_others_can_replace_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, used: bool
) -> None:
    tmp_path.chmod(mode)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert (compiled_code() is not None) is used


def test_a_user_without_a_name_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert compiled_code() is None
