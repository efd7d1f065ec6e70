"""A file is replaced whole or not at all, through links, with the permissions that it had."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vllmperf.storage import atomic
from tests.faults import files_up_to

OLD, NEW = "old\n", "new é\r\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds nothing else."""
    made = tmp_path / "folder"
    made.mkdir()
    return made


@pytest.fixture
def umask() -> Iterator[None]:
    """A umask that takes the group's and the others' permissions."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_text_is_written_as_it_is(folder: Path) -> None:
    path = folder / "file.json"
    atomic.write_text(path, NEW)
    assert path.read_bytes() == NEW.encode()
    assert (mode(path), list(folder.iterdir())) == (0o644, [path])


def test_a_new_file_is_as_private_as_the_umask_says(folder: Path, umask: None) -> None:
    atomic.write_text(folder / "file.json", NEW)
    assert mode(folder / "file.json") == 0o600


@pytest.mark.parametrize("permissions", [0o600, 0o664, 0o666, 0o440])
def test_the_permissions_of_a_file_stay(folder: Path, permissions: int) -> None:
    path = folder / "file.json"
    path.write_text(OLD)
    path.chmod(permissions)
    atomic.write_text(path, NEW)
    assert (path.read_bytes(), mode(path)) == (NEW.encode(), permissions)


def test_a_name_as_long_as_the_system_allows(folder: Path) -> None:
    path = folder / ("x" * 255)
    atomic.write_text(path, NEW)
    assert path.read_bytes() == NEW.encode()


@pytest.mark.parametrize("before", [OLD, None])
def test_a_full_disk_leaves_what_there_was_and_nothing_else(folder: Path, before: str | None) -> None:
    path = folder / "file.json"
    if before is not None:
        path.write_text(before)
    with files_up_to(1000), pytest.raises(OSError, match="File too large"):
        atomic.write_text(path, "x" * 5000)
    assert {file: file.read_text() for file in folder.iterdir()} == ({} if before is None else {path: before})


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_at_the_flush_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = folder / "file.json"
    path.write_text(OLD)

    def fail(handle: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error)):
        atomic.write_text(path, NEW)
    assert {file: file.read_text() for file in folder.iterdir()} == {path: OLD}


def test_a_folder_without_permission(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    path = folder / "file.json"
    path.write_text(OLD)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        atomic.write_text(path, NEW)
    assert {file: file.read_text() for file in folder.iterdir()} == {path: OLD}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_the_system_keeps_from_us(folder: Path) -> None:
    path = folder / "file.json"
    path.write_text(OLD)
    folder.chmod(0o555)
    try:
        with pytest.raises(PermissionError):
            atomic.write_text(path, NEW)
    finally:
        folder.chmod(0o755)
    assert path.read_text() == OLD


@pytest.mark.parametrize("relative", [True, False])
def test_a_link_stays_and_its_target_is_replaced(folder: Path, relative: bool) -> None:
    target, link = folder / "target.json", folder / "link.json"
    target.write_text(OLD)
    target.chmod(0o600)
    link.symlink_to(target.name if relative else target)
    atomic.write_text(link, NEW)
    assert link.is_symlink()
    assert (target.read_bytes(), mode(target)) == (NEW.encode(), 0o600)
    assert sorted(folder.iterdir()) == [link, target]


def test_a_link_into_another_folder_writes_beside_its_target(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another folder may be another file system, onto which nothing can be renamed from here."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target, link, chain = elsewhere / "target.json", elsewhere / "link.json", folder / "chain.json"
    target.write_text(OLD)
    link.symlink_to(target)
    chain.symlink_to(link)
    renamed: list[tuple[Path, Path]] = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda a, b: renamed.append((a.parent, Path(b))) or replace(a, b))
    atomic.write_text(chain, NEW)
    assert renamed == [(elsewhere, target)]
    assert chain.is_symlink()
    assert link.is_symlink()
    assert target.read_bytes() == NEW.encode()
    assert [sorted(one.iterdir()) for one in (folder, elsewhere)] == [[chain], [link, target]]


def test_a_link_to_nothing_makes_its_target(folder: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", folder / "link.json"
    link.symlink_to(target)
    atomic.write_text(link, NEW)
    assert link.is_symlink()
    assert target.read_bytes() == NEW.encode()


def test_a_link_into_a_folder_that_is_not_there(folder: Path) -> None:
    target, link = folder / "gone" / "target.json", folder / "link.json"
    link.symlink_to(target)
    with pytest.raises(FileNotFoundError) as caught:
        atomic.write_text(link, NEW)
    assert caught.value.strerror == f"it is a link to {target}, whose folder does not exist"
    assert list(folder.iterdir()) == [link]


def test_links_in_a_circle(folder: Path) -> None:
    a, b = folder / "a.json", folder / "b.json"
    a.symlink_to(b)
    b.symlink_to(a)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        atomic.write_text(a, NEW)
    assert sorted(folder.iterdir()) == [a, b]


def test_a_folder_in_its_place(folder: Path) -> None:
    path = folder / "file.json"
    path.mkdir()
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        atomic.write_text(path, NEW)
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("linked", [True, False])
def test_what_is_no_regular_file_is_not_replaced(folder: Path, linked: bool) -> None:
    """A link to `/dev/null`, say, must not make a file of the device."""
    pipe = path = folder / "pipe"
    os.mkfifo(pipe)
    if linked:
        path = folder / "link.json"
        path.symlink_to(pipe)
    with pytest.raises(OSError, match="it is not a regular file"):
        atomic.write_text(path, NEW)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def leftover(folder: Path, name: str = f".vllmperf-{'0' * 16}.tmp", age: float = 3600) -> Path:
    path = folder / name
    path.write_text("half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_what_a_killed_run_has_left_is_removed(folder: Path) -> None:
    leftover(folder)
    atomic.sweep(folder)
    assert list(folder.iterdir()) == []
    atomic.sweep(folder / "gone")


@pytest.mark.parametrize(
    "name", [".vllmperf-notes.tmp", "vllmperf-0000000000000000.tmp", ".vllmperf-0000000000000000.json"]
)
def test_what_this_package_has_not_made_stays(folder: Path, name: str) -> None:
    path = leftover(folder, name)
    (folder / f".vllmperf-{'1' * 16}.tmp").mkdir()
    (folder / f".vllmperf-{'2' * 16}.tmp").symlink_to(path)
    before = sorted(folder.iterdir())
    atomic.sweep(folder)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("age", [0, -3600])
def test_what_is_new_stays(folder: Path, age: float) -> None:
    """Its writer may not hold the lock on it yet; a clock that was set back makes it look younger."""
    path = leftover(folder, age=age)
    atomic.sweep(folder)
    assert path.exists()


def test_what_is_another_users_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = leftover(folder)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    atomic.sweep(folder)
    assert path.exists()


def test_what_is_being_written_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def meanwhile(handle: int) -> None:
        (temporary,) = folder.iterdir()
        os.utime(temporary, (1e9, 1e9))
        atomic.sweep(folder)
        seen.append(temporary.exists())

    monkeypatch.setattr(os, "fsync", meanwhile)
    atomic.write_text(folder / "file.json", NEW)
    assert seen == [True]


def test_a_run_that_is_killed_leaves_what_the_next_one_removes(folder: Path) -> None:
    script = (
        "import os, signal, sys, pathlib\nfrom pytest_vllmperf.storage import atomic\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
        "atomic.write_text(pathlib.Path(sys.argv[1]) / 'file.json', 'new')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script, str(folder)], env=environment, check=False).returncode == -9
    (left,) = folder.iterdir()
    os.utime(left, (1e9, 1e9))
    atomic.sweep(folder)
    assert list(folder.iterdir()) == []


def test_a_file_that_is_not_wanted_after_all_stays_as_it_was(folder: Path) -> None:
    path = folder / "file.json"
    path.write_text(OLD)
    assert not atomic.write_text(path, NEW, unless=lambda: True)
    assert {file: file.read_text() for file in folder.iterdir()} == {path: OLD}


def test_what_utf_8_does_not_have_is_escaped(folder: Path) -> None:
    atomic.write_text(folder / "card.md", "a\udcff")
    assert (folder / "card.md").read_bytes() == b"a\\udcff"
