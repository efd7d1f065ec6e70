"""The lock on a folder: nothing is lost between processes, whatever their TMPDIR, and nothing is left behind."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.storage import baselines
from pytest_vllmperf.storage.baselines import BaselineStore, Changes
from pytest_vllmperf.storage.locks import LOCK_NAME, exclusive, locked
from tests.storage.conftest import MODULE, entry

UPDATES = 50
WRITER = f"""\
import sys
from pathlib import Path
from pytest_vllmperf.storage.baselines import BaselineStore, Changes
from tests.storage.conftest import MODULE, entry
for number in range({UPDATES}):
    BaselineStore(Path(sys.argv[1])).write("h200", MODULE, Changes({{f"{{sys.argv[2]}}_{{number}}": entry()}}))
"""


def test_two_runs_with_two_temporary_folders_lose_nothing(store: BaselineStore, tmp_path: Path) -> None:
    writers = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        environment = {**os.environ, "TMPDIR": str(tmp_path / name), "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", WRITER, str(store.root), name]
        writers.append(subprocess.Popen(command, env=environment))
    assert [writer.wait() for writer in writers] == [0, 0]
    names = {f"{name}_{number}" for name in ("a", "b") for number in range(UPDATES)}
    assert set(store.read("h200", MODULE).tests) == names
    assert list(store.path("h200", MODULE).parent.iterdir()) == [store.path("h200", MODULE)]


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no lock on folders, as NFS."""
    lock = fcntl.flock

    def refuse(handle: int, operation: int) -> None:
        if Path(f"/proc/self/fd/{handle}").is_dir():
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("refusing")
def test_where_folders_cannot_be_locked_a_file_stands_for_the_lock_and_is_removed(
    store: BaselineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked(tmp_path, 1):
        assert (tmp_path / LOCK_NAME).exists()
    path = store.write("h200", MODULE, Changes({"test_a": entry()})).path
    assert list(path.parent.iterdir()) == [path]
    monkeypatch.setattr(baselines, "LOCK_TIMEOUT_S", 0.01)
    with locked(path.parent, 1), pytest.raises(BaselineError) as caught:
        store.write("h200", MODULE, Changes({"test_b": entry()}))
    lock = path.parent / LOCK_NAME
    assert str(caught.value) == (f"{path}: another run has locked it for 0.01 s; delete {lock} if that run has ended")


def test_another_error_of_the_file_system_is_told(store: BaselineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(BaselineError, match="not written: Input/output error"):
        store.write("h200", MODULE, Changes({"test_a": entry()}))


def test_a_folder_that_may_not_be_listed_has_a_file_for_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: object, flags: int, *mode: int) -> int:
        if flags & os.O_DIRECTORY:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, flags, *mode)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    with locked(tmp_path, 1):
        assert (tmp_path / LOCK_NAME).exists()


def test_a_folder_that_was_replaced_while_this_waited_is_locked_again(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    taken = threading.Event()

    def hold_and_replace() -> None:
        with locked(folder, 5):
            taken.set()
            time.sleep(0.1)
            shutil.rmtree(folder)
            folder.mkdir()

    other = threading.Thread(target=hold_and_replace)
    other.start()
    taken.wait()
    with locked(folder, 5), pytest.raises(TimeoutError), locked(folder, 0.01):
        pass
    other.join()


def test_the_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), locked(tmp_path, 1):
        raise KeyboardInterrupt
    with locked(tmp_path, 0):
        pass


def test_one_file_is_held_by_one_and_its_neighbour_is_free(tmp_path: Path) -> None:
    with exclusive(tmp_path / "a.json"):
        with pytest.raises(TimeoutError), exclusive(tmp_path / "a.json"):
            pass
        with exclusive(tmp_path / "b.json"):
            pass
    with exclusive(tmp_path / "a.json"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_holder_is_free(tmp_path: Path) -> None:
    holder = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom pytest_vllmperf.storage.locks import exclusive\n"
        "with exclusive(Path(sys.argv[1])):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "a.json"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", holder, str(path)], env=environment).returncode == -9
    assert (tmp_path / ".a.json.lock").exists()
    with exclusive(path):
        pass
    assert not (tmp_path / ".a.json.lock").exists()


def test_where_locks_are_refused_a_file_stands_for_the_lock_of_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "a.json"
    refused = pytest.raises(TimeoutError, match=r"delete .*\.a\.json\.lock\.held if that run has ended")
    with exclusive(path), refused, exclusive(path):
        pass
    assert list(tmp_path.iterdir()) == []
