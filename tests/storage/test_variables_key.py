"""The key of the hashes: from a variable, or a private file that is made once and never through a link."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.storage import variables_key
from pytest_vllmperf.storage.variables_key import check_key, find_key

SECRET = {"VLLMPERF_KEY": "sixteen letters!"}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


def key_file(env: dict[str, str]) -> Path:
    return Path(env["XDG_CONFIG_HOME"], "pytest-vllmperf", "key")


def test_of_a_variable(env: dict[str, str]) -> None:
    first, second = find_key({**env, **SECRET}), find_key(SECRET)
    assert first == second
    assert first is not None
    assert first != find_key({"VLLMPERF_KEY": "sixteen letters?"})
    assert SECRET["VLLMPERF_KEY"].encode() not in first.secret
    assert not key_file(env).exists()


@pytest.mark.parametrize("use", [find_key, check_key])
@pytest.mark.parametrize("secret", ["", "fifteen letters"])
def test_a_variable_that_is_too_short(use: object, secret: str) -> None:
    assert callable(use)
    line = f"^VLLMPERF_KEY has {len(secret)} characters; set one of at least 16$"
    with pytest.raises(SpecError, match=line):
        use({"VLLMPERF_KEY": secret})


def test_of_a_private_file_that_is_made_once(env: dict[str, str]) -> None:
    check_key(env)
    assert not key_file(env).exists()
    before = os.umask(0)
    try:
        first = find_key(env)
    finally:
        os.umask(before)
    assert first is not None
    assert first == find_key(env)
    assert stat.S_IMODE(key_file(env).stat().st_mode) == 0o600
    assert stat.S_IMODE(key_file(env).parent.stat().st_mode) == 0o700
    assert [file.name for file in key_file(env).parent.iterdir()] == ["key"]
    assert first != find_key({"XDG_CONFIG_HOME": env["XDG_CONFIG_HOME"] + "/other"})


def test_processes_that_make_it_at_once_agree(env: dict[str, str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(find_key, [env] * 32))
    assert len(found) == 1


def test_in_the_home_folder_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_key({"XDG_CONFIG_HOME": "relative"}) == find_key({})
    assert (tmp_path / ".config" / "pytest-vllmperf" / "key").is_file()


def test_without_a_home_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", nobody)
    check_key({})
    assert find_key({}) is None


def test_where_it_cannot_be_written_there_is_none(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(path: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(variables_key, "_make", read_only)
    assert find_key(env) is None


def test_where_a_file_is_in_its_way_there_is_none(env: dict[str, str]) -> None:
    Path(env["XDG_CONFIG_HOME"]).write_text("a file")
    assert find_key(env) is None


@pytest.mark.parametrize("use", [find_key, check_key])
@pytest.mark.parametrize("fault", ["link", "mode", "short", "long", "folder", "fifo", "owner"])
def test_a_file_that_is_not_private_is_refused_in_one_line(
    env: dict[str, str], tmp_path: Path, use: object, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = key_file(env)
    file.parent.mkdir(parents=True)
    if fault == "link":
        (tmp_path / "elsewhere").write_bytes(b"x" * 32)
        file.symlink_to(tmp_path / "elsewhere")
    elif fault == "folder":
        file.mkdir()
    elif fault == "fifo":
        os.mkfifo(file, 0o600)
    else:
        file.write_bytes(b"x" * {"short": 31, "long": 33}.get(fault, 32))
        file.chmod(0o640 if fault == "mode" else 0o600)
    if fault == "owner":
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    words = {"link": "it is a symbolic link", "mode": "other users can read or write it", "owner": (
        "it belongs "
        "to another user"
    ),
             "short": "it does not hold 32 bytes", "long": "it does not hold 32 bytes"}  # fmt: skip
    assert callable(use)
    with pytest.raises(SpecError) as caught:
        use(env)
    assert str(caught.value) == (
        f"{file} cannot be used as the key for environment variables: {words.get(fault, 'it is not a file')}; "
        f"remove it, or set VLLMPERF_KEY"
    )


def test_a_dangling_link_is_not_followed(env: dict[str, str], tmp_path: Path) -> None:
    file = key_file(env)
    file.parent.mkdir(parents=True)
    file.symlink_to(tmp_path / "made by us")
    with pytest.raises(SpecError, match="it is a symbolic link"):
        find_key(env)
    assert not (tmp_path / "made by us").exists()
