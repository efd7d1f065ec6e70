"""The commit of the user's repository: asked of git, which is given two seconds and writes nothing."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TIMEOUT_S: Final = 2.0
"""For each of both questions. The state of a very large work tree may take longer; nobody waits for it."""
_HASH: Final = re.compile("[0-9a-f]{40}([0-9a-f]{24})?")
# No lock, no monitor that git would start, and no repository but the one that the folder lies in.
_QUIET: Final = ("-c", "core.fsmonitor=false", "--no-optional-locks")
_ELSEWHERE: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR")


@dataclass(frozen=True)
class Revision:
    """What is checked out.

    Attributes:
        commit: its hash; None outside of a repository, without git, and before the first commit.
        dirty: whether tracked files differ from it; None where git did not tell in time.
    """

    commit: str | None = None
    dirty: bool | None = None


def revision(folder: Path, timeout: float = _TIMEOUT_S) -> Revision:
    """The commit that a folder lies in. Whatever goes wrong, nothing is raised.

    Args:
        folder: any folder of a work tree.
        timeout: seconds for each question to git.
    """
    commit = (_answer(folder, timeout, "rev-parse", "--verify", "HEAD") or "").strip()
    if not _HASH.fullmatch(commit):
        return Revision()
    changed = _answer(folder, timeout, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty")
    return Revision(commit, None if changed is None else bool(changed.strip()))


def _answer(folder: Path, timeout: float, *question: str) -> str | None:
    """What git prints; None where it fails, is not there, or does not answer in time."""
    environment = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    try:
        done = subprocess.run(
            ["git", *_QUIET, *question],
            cwd=folder,
            env={**environment, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")
