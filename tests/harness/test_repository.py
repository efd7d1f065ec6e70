"""The commit of the user's repository, asked of a real git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pytest_vllmperf.harness.repository import Revision, revision


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    (tmp_path / "tests").mkdir()
    return tmp_path


def test_a_clean_tree_and_one_with_changes(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    assert revision(repository / "tests", 30) == Revision(commit, dirty=False)
    (repository / "new.txt").write_text("untracked files are no changes: a run writes some itself")
    assert revision(repository, 30) == Revision(commit, dirty=False)
    (repository / "a.txt").write_text("2\n")
    assert revision(repository, 30) == Revision(commit, dirty=True)


def test_no_repository_no_commit_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revision(tmp_path, 30) == Revision()
    git(tmp_path, "init", "-q")
    assert revision(tmp_path, 30) == Revision()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert revision(tmp_path, 30) == Revision()
    assert revision(tmp_path / "is not there", 30) == Revision()


def test_another_repository_in_the_environment_is_not_asked(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "-q")
    git(other, "commit", "-q", "--allow-empty", "-m", "other")
    commit = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))  # as in a hook
    assert revision(repository, 30).commit == commit


def test_a_git_that_does_not_answer_is_not_waited_for(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    folder = tmp_path / "bin"
    folder.mkdir()
    slow = folder / "git"
    slow.write_text(f'#!/bin/sh\ncase "$*" in *rev-parse*) echo {commit};; *) exec sleep 600;; esac\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    assert revision(repository, 4) == Revision(commit, None)
