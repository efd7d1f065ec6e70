"""The folder of the locks and the files in it: for every user, and noticed where somebody removes one."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from pytest_vllmperf.errors import EngineError
from pytest_vllmperf.lab import leases
from pytest_vllmperf.lab.leases import Leases
from tests.lab.leasing import DEVICES, LONG, ONE, TWO, GivenUpError, Make, give_up, lease, never

__all__ = ["lease"]


@pytest.fixture
def umask() -> Iterator[None]:
    """One that keeps everything from others."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_every_user_can_open_what_one_has_made(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    for _ in range(2):  # a file is left behind, and taken again
        mine = Leases(folder)
        mine.choose([ONE], 1, never)
        (file,) = folder.iterdir()
        assert file.name == "vllmperf-device-GPU-1.lock"
        assert [stat.S_IMODE(made.stat().st_mode) for made in (folder, file)] == [0o1777, 0o666]
        mine.release()


def test_a_folder_that_exists_is_used_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o1770)
    mine = Leases(tmp_path)
    mine.choose([ONE], 1, never)
    mine.release()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1770


def test_a_variable_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lease: Make) -> None:
    monkeypatch.setenv("VLLMPERF_LOCKS", str(tmp_path))
    mine = Leases()
    mine.choose([ONE], 1, never)
    with pytest.raises(GivenUpError):
        lease().choose([ONE], 1, give_up)
    mine.release()


@pytest.mark.parametrize("value", [None, ""])
def test_else_it_is_the_same_for_everybody(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lease: Make
) -> None:
    assert Path("/tmp/vllmperf-locks") == leases.FOLDER
    monkeypatch.delenv("VLLMPERF_LOCKS") if value is None else monkeypatch.setenv("VLLMPERF_LOCKS", value)
    monkeypatch.setattr(leases, "FOLDER", tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    monkeypatch.setattr("os.getuid", lambda: 12345)
    mine = Leases()
    mine.choose([ONE], 1, never)
    with pytest.raises(GivenUpError):
        lease().choose([ONE], 1, give_up)
    mine.release()


REMEDY = "set VLLMPERF_LOCKS to a folder that every user of this machine can write to"


def failure(folder: Path) -> str:
    """In what words a device cannot be taken, which is then not held."""
    mine = Leases(folder)
    with pytest.raises(EngineError) as failed:
        mine.choose([ONE], 1, never)
    assert mine.held == ()
    words = str(failed.value)
    beginning, end = f"GPU-1 cannot be locked by {folder}/vllmperf-device-GPU-1.lock: ", f"; {REMEDY}"
    assert words.startswith(beginning)
    assert words.endswith(end)
    return words.removeprefix(beginning).removesuffix(end)


def test_what_is_no_folder_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert failure(tmp_path / "file") == "Not a directory"
    assert failure(tmp_path / "missing" / "locks") == "No such file or directory"
    (tmp_path / "vllmperf-device-GPU-1.lock").mkdir()
    assert failure(tmp_path) == "Is a directory"


def test_nothing_is_added_where_one_of_them_cannot_be_locked(tmp_path: Path, lease: Make) -> None:
    (tmp_path / "vllmperf-device-GPU-3.lock").mkdir()
    mine = lease()
    mine.choose([ONE], 1, never)
    with pytest.raises(EngineError, match="GPU-3 cannot be locked"):
        mine.choose(DEVICES, 3, never)
    assert mine.held == (ONE,)
    assert lease().choose([TWO], 1, never) == (TWO,)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
@pytest.mark.parametrize("call", ["pathlib.Path.mkdir", "pathlib.Path.chmod", "os.open"])
def test_what_cannot_be_written_is_told_in_a_line(
    call: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By functions that fail, as the superuser may write everywhere."""

    def failing(*_: object, **__: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(call, failing)
        told = failure(tmp_path / "locks")
    assert told == os.strerror(code)


def replace_file(file: Path) -> None:
    file.unlink()
    file.touch()


@pytest.mark.parametrize("harm", [Path.unlink, replace_file])
def test_a_lock_file_that_somebody_removes_is_noticed(
    harm: Callable[[Path], None], lease: Make, tmp_path: Path
) -> None:
    """Another run could lock the file that takes its place, and measure on the same GPU."""
    mine = lease()
    mine.choose([ONE, TWO], 2, never)
    mine.verify()
    harm(tmp_path / "vllmperf-device-GPU-2.lock")
    assert lease().choose([TWO], 1, never) == (TWO,)
    with pytest.raises(EngineError, match=r"GPU-2\.lock was removed or replaced while this run held GPU-2; "):
        mine.verify()
    assert mine.held == (ONE,)
    with pytest.raises(GivenUpError):
        mine.choose([TWO], 1, give_up)


def test_a_file_that_is_removed_while_it_is_locked_is_opened_again(
    lease: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening and the lock."""
    file, flock, looks = tmp_path / "vllmperf-device-GPU-1.lock", leases.fcntl.flock, []

    def removed_before(descriptor: int, how: int) -> None:
        looks.append(descriptor)
        if len(looks) == 1:
            file.unlink()
        flock(descriptor, how)

    monkeypatch.setattr(leases.fcntl, "flock", removed_before)
    mine = lease()
    assert mine.choose([ONE], 1, never) == (ONE,)
    assert len(looks) == 2
    mine.verify()


def test_a_fifo_or_a_link_is_no_lock_file(tmp_path: Path) -> None:
    file = tmp_path / "vllmperf-device-GPU-1.lock"
    os.mkfifo(file)
    assert failure(tmp_path) == "it is not a regular file"
    file.unlink()
    (tmp_path / "elsewhere").touch()
    file.symlink_to(tmp_path / "elsewhere")
    assert failure(tmp_path) == os.strerror(errno.ELOOP)


AS_ANOTHER_USER = """
import os, pathlib, sys
from pytest_vllmperf.lab.leases import Leases
os.setgid(54321)
os.setuid(54321)
folder = pathlib.Path(sys.argv[1])
try:
    (folder / "vllmperf-device-GPU-1.lock").unlink()
except PermissionError:
    print("cannot be removed")
print(Leases(folder).take(["GPU-1", "GPU-2"], 1))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs two users")
@pytest.mark.parametrize("mode", [0o666, 0o644])
def test_another_user_can_wait_for_a_lock_but_not_remove_it(mode: int, lease: Make) -> None:
    """Whatever the other's umask made of the file."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent, "locks")
        mine = Leases(folder)
        mine.choose([ONE], 1, never)
        (folder / "vllmperf-device-GPU-1.lock").chmod(mode)
        run = subprocess.run(
            [sys.executable, "-c", AS_ANOTHER_USER, str(folder)], capture_output=True, text=True, timeout=LONG
        )
        mine.release()
    assert run.stdout == "cannot be removed\n('GPU-2',)\n", run.stderr
