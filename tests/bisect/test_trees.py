"""Commits, and the work trees that they are built in; the user's own is only read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_vllmperf.bisect.trees import Commits, Repository
from pytest_vllmperf.errors import BisectError, UnpreparedError
from tests.interpreters import interpreter


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@x", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five commits; in each `vllm/number` is another."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "vllm-source"
    (folder / "vllm").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / ".gitignore").write_text("env\n")
    (folder / "vllm" / "__init__.py").touch()
    for number in range(5):
        (folder / "vllm" / "number").write_text(f"{number}\n")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", f"change {number}")
    return folder


@pytest.fixture
def env(tmp_path: Path) -> str:
    """What a build copies into its tree: an environment whose vLLM is that tree's."""
    interpreter(tmp_path / "env", "")
    site = next((tmp_path / "env" / "lib").glob("*/site-packages")).relative_to(tmp_path / "env")
    return f"rm -rf env && cp -r {tmp_path}/env env && ln -s {{tree}}/vllm env/{site}/vllm"


def commits(repository: Path, tmp_path: Path, build: str, python: str = "env/bin/python") -> Commits:
    return Commits(Repository(repository), tmp_path / "trees", build, python, tmp_path / "log")


def untouched(repository: Path) -> tuple[str, str, str]:
    return (
        git(repository, "status", "--porcelain", "--ignored"),
        git(repository, "worktree", "list"),
        git(repository, "for-each-ref") + git(repository, "rev-parse", "HEAD"),
    )


def test_commits_in_their_order_with_subjects(repository: Path) -> None:
    points = Repository(repository).points("HEAD~3", "main")
    assert [point.title for point in points] == ["change 1", "change 2", "change 3", "change 4"]
    assert points[-1].id == git(repository, "rev-parse", "HEAD")


def test_merged_branches_count_as_their_merge(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "side", "HEAD~1")
    (repository / "side").touch()
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "aside")
    git(repository, "checkout", "--quiet", "main")
    git(repository, "merge", "--quiet", "--no-ff", "--message", "merged", "side")
    assert [point.title for point in Repository(repository).points("HEAD~2", "HEAD")] == [
        "change 3",
        "change 4",
        "merged",
    ]


def test_each_commit_is_built_in_a_tree_of_its_own_and_nothing_is_left(
    repository: Path, tmp_path: Path, env: str
) -> None:
    (repository / "vllm" / "number").write_text("edited\n")
    before = untouched(repository)
    points = Repository(repository).points("HEAD~4", "HEAD")
    source = commits(repository, tmp_path, f"{env} && cp vllm/number {tmp_path}/built-{{version}}")
    good, bad = source.reference(points[0]), source.version(points[4])
    assert good.folder != bad.folder
    numbers = [(Path(one.folder) / "number").read_text() for one in (good, bad)]
    assert numbers == ["0\n", "4\n"]
    assert (tmp_path / f"built-{points[4].id}").read_text() == "4\n"
    again = source.version(points[2])
    assert (again.folder, (Path(again.folder) / "number").read_text()) == (bad.folder, "2\n")
    assert (Path(good.folder) / "number").read_text() == "0\n"
    source.close()
    assert untouched(repository) == before
    assert not (tmp_path / "trees").exists()


def test_a_build_that_edits_the_sources_does_not_reach_the_next_commit(
    repository: Path, tmp_path: Path, env: str
) -> None:
    points = Repository(repository).points("HEAD~4", "HEAD")
    source = commits(repository, tmp_path, f"{env} && echo edited > vllm/number")
    assert (Path(source.version(points[3]).folder) / "number").read_text() == "edited\n"
    other = commits(repository, tmp_path, env)
    assert (Path(other.version(points[3]).folder) / "number").read_text() == "3\n"
    other.close()


def test_hooks_of_the_user_do_not_run(repository: Path, tmp_path: Path, env: str) -> None:
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    source = commits(repository, tmp_path, env)
    for point in Repository(repository).points("HEAD~1", "HEAD"):
        source.version(point)
    source.close()
    assert not (tmp_path / "hooked").exists()


def test_trees_of_a_killed_run_are_removed(repository: Path, tmp_path: Path, env: str) -> None:
    point = Repository(repository).points("HEAD~1", "HEAD")[0]
    before = untouched(repository)
    commits(repository, tmp_path, env).version(point)
    assert untouched(repository) != before
    commits(repository, tmp_path, env).close()
    assert untouched(repository) == before


def test_a_folder_that_is_no_tree_of_ours_stays(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "trees" / "reference").mkdir(parents=True)
    (tmp_path / "trees" / "reference" / "precious").touch()
    commits(repository, tmp_path, "").close()
    assert (tmp_path / "trees" / "reference" / "precious").exists()


def test_a_build_that_fails_is_told_with_its_last_lines(repository: Path, tmp_path: Path) -> None:
    point = Repository(repository).points("HEAD~1", "HEAD")[0]
    source = commits(repository, tmp_path, "echo compiling; echo nvcc is missing >&2; exit 2")
    with pytest.raises(UnpreparedError, match="--build ended with 2: nvcc is missing"):
        source.version(point)
    source.close()


def test_an_interpreter_that_the_build_did_not_make(repository: Path, tmp_path: Path) -> None:
    point = Repository(repository).points("HEAD~1", "HEAD")[0]
    source = commits(repository, tmp_path, "")
    with pytest.raises(UnpreparedError, match="trees/version/env/bin/python' is not an executable interpreter"):
        source.version(point)
    source.close()


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        ("HEAD", "main", "--good HEAD and --bad main are the same commit"),
        ("HEAD", "HEAD~2", "--good HEAD is no ancestor of --bad HEAD~2"),
        ("v0.31.0", "HEAD", "--good 'v0.31.0': there is no such commit"),
        ("HEAD~1", "nope", "--bad 'nope': there is no such commit"),
        ("HEAD~1", "--all", "--bad '--all': there is no such commit"),
    ],
)
def test_bad_revisions(repository: Path, good: str, bad: str, words: str) -> None:
    with pytest.raises(BisectError) as one:
        Repository(repository).points(good, bad)
    assert words in str(one.value)
    assert "\n" not in str(one.value)


def test_a_folder_that_is_no_work_tree(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("")  # where the folder of temporary files lies in a work tree, git would find that
    with pytest.raises(BisectError, match="is no work tree of git"):
        Repository(tmp_path).points("a", "b")
    with pytest.raises(BisectError, match="there is no such folder"):
        Repository(tmp_path / "nope").points("a", "b")


def test_without_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BisectError, match="--git needs the program git"):
        Repository(repository).points("a", "b")


@pytest.mark.parametrize(
    ("python", "words"),
    [("", "--git needs --python PATH"), ("/env/bin/python", "'/env/bin/python' is the same for all commits")],
)
def test_an_interpreter_of_no_tree_is_refused(repository: Path, tmp_path: Path, python: str, words: str) -> None:
    with pytest.raises(BisectError, match=words):
        commits(repository, tmp_path, "", python)


def test_uncommitted_changes_are_seen(repository: Path) -> None:
    assert not Repository(repository).uncommitted
    (repository / "untracked").touch()
    assert not Repository(repository).uncommitted
    (repository / "vllm" / "number").write_text("edited\n")
    assert Repository(repository).uncommitted
