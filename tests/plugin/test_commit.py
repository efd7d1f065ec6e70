"""The commit of the user's repository in the file of `--vllmperf-json`; alone and under xdist."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf import load

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

BODY = """
@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.01)
def test_commits_meanwhile(vllmperf):
    import subprocess
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", "second"], check=True)
    vllmperf.check(vllmperf.measure(WORK))
"""


def git(project: Project, *arguments: str) -> str:
    who = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *arguments], cwd=project.root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_it_is_that_of_the_beginning(project: Project, workers: list[str]) -> None:
    project.module(BODY)
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "first")
    first = git(project, "rev-parse", "HEAD")
    project.run("--vllmperf-update", "--vllmperf-json=run.json", *workers)
    run = load(project.root / "run.json").run
    assert git(project, "rev-parse", "HEAD") != first
    assert (run.commit, run.dirty) == (first, False)


def test_outside_of_a_repository_there_is_none(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.root.parent))
    project.module(BODY.replace("check=True", "check=False"))
    project.run("--vllmperf-update", "--vllmperf-json=run.json")
    run = load(project.root / "run.json").run
    assert (run.commit, run.dirty) == (None, None)
