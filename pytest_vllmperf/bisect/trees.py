"""Environments of commits: two work trees of git beside the user's own, in which a command builds vLLM."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_vllmperf.bisect import commands
from pytest_vllmperf.bisect.environments import VERSION, found_at
from pytest_vllmperf.engines.interpreter import Interpreter
from pytest_vllmperf.errors import BisectError, UnpreparedError
from pytest_vllmperf.records.bisect import Point

TREE: Final = "{tree}"
"""What stands for the folder of a work tree in a path or a command."""
_FIELD: Final = "\x1f"


@dataclass(frozen=True)
class Repository:
    """A repository of git; its work tree is only read.

    Attributes:
        folder: in its work tree.
    """

    folder: Path

    def points(self, good: str, bad: str) -> tuple[Point, ...]:
        """The commits from the good one to the bad one, along first parents.

        Args:
            good: a revision.
            bad: a later one.

        Raises:
            BisectError: for a folder that is no work tree, a revision that does not exist, and ends that are equal or
                not in order.
        """
        self._check()
        first, last = self._commit("--good", good), self._commit("--bad", bad)
        if first == last:
            raise BisectError(f"--good {good} and --bad {bad} are the same commit, {first[:12]}")
        if self._git("merge-base", "--is-ancestor", first, last, check=False) is None:
            raise BisectError(
                f"--good {good} is no ancestor of --bad {bad} in {self.folder}: they are in the wrong order, on two "
                "branches, or the clone is shallow (git fetch --unshallow)"
            )
        inner = self._told("log", "--first-parent", "--reverse", f"--format=%H{_FIELD}%s", f"{first}..{last}")
        head = self._told("log", "-1", f"--format=%H{_FIELD}%s", first)
        rows = [line.partition(_FIELD) for line in (*head.splitlines(), *inner.splitlines())]
        return tuple(Point(id=commit, title=title or "no subject") for commit, _, title in rows)

    @property
    def uncommitted(self) -> bool:
        """Whether files in the work tree differ from its commit; they are not part of what is measured."""
        return bool(self._told("status", "--porcelain", "--untracked-files=no").strip())

    def add(self, tree: Path, commit: str) -> None:
        """Make a work tree, or set one that is there to another commit. Files that git ignores stay.

        Raises:
            UnpreparedError: when git cannot do it.
        """
        there = (tree / ".git").exists()
        command = (
            ("-C", str(tree), "checkout", "--quiet", "--force", "--detach", commit)
            if there
            else ("worktree", "add", "--quiet", "--force", "--detach", str(tree), commit)
        )
        ended = self._run(*command)
        if ended.returncode:
            doing = "checkout" if there else "worktree add"
            raise UnpreparedError(f"git {doing} failed: {_last(ended.stderr)}")

    def remove(self, tree: Path) -> None:
        """Remove a work tree that `add` has made, with all that is in it; nothing happens where there is none."""
        if not (tree / ".git").is_file():
            return
        self._run("worktree", "remove", "--force", "--force", str(tree))
        shutil.rmtree(tree, ignore_errors=True)
        self._run("worktree", "prune")

    def _check(self) -> None:
        if not self.folder.is_dir():
            raise BisectError(f"--git {self.folder}: there is no such folder")
        if shutil.which("git") is None:
            raise BisectError("--git needs the program git, which is not installed")
        if self._git("rev-parse", "--show-toplevel", check=False) is None:
            raise BisectError(f"--git {self.folder}: is no work tree of git")

    def _commit(self, option: str, revision: str) -> str:
        told = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", check=False)
        if told is None:
            raise BisectError(f"{option} {revision!r}: there is no such commit in {self.folder}")
        return told.strip()

    def _told(self, *arguments: str) -> str:
        told = self._git(*arguments)
        assert told is not None
        return told

    def _git(self, *arguments: str, check: bool = True) -> str | None:
        """What git prints; None where it fails and may.

        Raises:
            BisectError: where it fails and may not.
        """
        ended = self._run(*arguments)
        if ended.returncode and check:
            raise BisectError(f"git {arguments[0]} failed in {self.folder}: {_last(ended.stderr)}")
        return None if ended.returncode else ended.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # In a hook of git these variables name another repository.
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return subprocess.run(
            ["git", "-C", str(self.folder), "-c", "core.hooksPath=/dev/null", *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )


@dataclass(frozen=True)
class Commits:
    """Environments of commits.

    Attributes:
        repository: the user's.
        folder: that the two work trees are made in.
        build: a command for the shell, run in the work tree; empty where nothing has to be built. `{tree}` is the
            folder, `{version}` the commit.
        python: path of the interpreter, relative to the work tree, or with `{tree}` or `{version}` in it.
        log: a file that all the command writes is added to.
    """

    repository: Repository
    folder: Path
    build: str
    python: str
    log: Path

    def __post_init__(self) -> None:
        if not self.python:
            raise BisectError(
                "--git needs --python PATH: the interpreter, from the work tree, such as .venv/bin/python"
            )
        if Path(self.python).is_absolute() and TREE not in self.python and VERSION not in self.python:
            raise BisectError(
                f"--python {self.python!r} is the same for all commits: give a path from the work tree, such as "
                f".venv/bin/python, or one with {TREE} or {VERSION} in it"
            )

    def reference(self, point: Point) -> Interpreter:
        """See `environments.Source`."""
        return self._built("reference", point)

    def version(self, point: Point) -> Interpreter:
        """See `environments.Source`."""
        return self._built("version", point)

    def close(self) -> None:
        """Remove both work trees."""
        for name in ("reference", "version"):
            self.repository.remove(self.folder / name)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _built(self, name: str, point: Point) -> Interpreter:
        tree = self.folder / name
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BisectError(f"{self.folder}: cannot be made: {error.strerror}") from None
        self.repository.add(tree, point.id)
        if self.build:
            ended = commands.run(self._filled(self.build, tree, point), self.log, folder=tree)
            if ended.code:
                raise UnpreparedError(f"--build ended with {ended.code}: {ended.last_lines}")
        return found_at(str(tree / self._filled(self.python, tree, point)))

    @staticmethod
    def _filled(text: str, tree: Path, point: Point) -> str:
        return text.replace(TREE, str(tree)).replace(VERSION, point.id)


def _last(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
