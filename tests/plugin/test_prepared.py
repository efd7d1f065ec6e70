"""Workers that tests here fork from a prepared Python are processes of their own, as a user's are."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from tests.plugin.conftest import Project

TELLS = """
import json, os, pathlib

def test_tells():
    told = {"pid": os.getpid(), "word": os.environ.get("PREPARED_WORD"), "folder": os.getcwd()}
    pathlib.Path(f"told-{os.environ['PYTEST_XDIST_WORKER']}.json").write_text(json.dumps(told))
"""


def _told(project: Project, *arguments: str) -> list[dict[str, Any]]:
    project.module(TELLS)
    project.run("-n", "2", "--dist", "each", *arguments).assert_outcomes(passed=2)
    return [json.loads(file.read_text()) for file in sorted(project.root.glob("told-*.json"))]


def test_workers_have_the_environment_and_the_folder_of_their_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: set[int] = set()
    for word in ("one", "two"):
        monkeypatch.setenv("PREPARED_WORD", word)
        workers = _told(project)
        assert [(told["word"], told["folder"]) for told in workers] == [(word, str(project.root))] * 2
        pids |= {told["pid"] for told in workers}
    assert len(pids) == 4
    assert os.getpid() not in pids


def test_a_worker_that_dies_is_told_as_ever(project: Project) -> None:
    project.module("import os\n\ndef test_dies():\n    os._exit(3)\n")
    result = project.run("-n", "1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*worker 'gw0' crashed while running 'test_chat.py::test_dies'*"])
