from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

TAKEN = """
from pytest_vllmperf.errors import EngineError
from pytest_vllmperf.lab.leases import Leases

def choose(self, fitting, count, progress):
    progress(f"waiting for {fitting[0]}, which another run is measuring on", 12.0)
    raise EngineError("nobody waits that long")

Leases.take = lambda self, fitting, count: None
Leases.choose = choose
"""


TEST = """\
@pytest.mark.vllm("model")
def test_chat(vllmperf):
    vllmperf.measure(WORK)
"""


@pytest.fixture
def waiting(project: Project) -> Project:
    """A project whose device is another run's."""
    project.write("conftest.py", TAKEN)
    project.module(TEST)
    return project


def test_what_a_run_waits_for_is_shown(waiting: Project) -> None:
    result = waiting.run_apart("--vllmperf")
    result.stdout.fnmatch_lines(["vllmperf: waiting for cpu, which another run is measuring on (12 s)", "*1 failed*"])


def test_what_a_worker_waits_for_is_shown(waiting: Project) -> None:
    result = waiting.run_apart("--vllmperf", "-n", "1")
    result.stderr.fnmatch_lines(["vllmperf gw0: waiting for cpu, which another run is measuring on (12 s)"])
    result.stdout.fnmatch_lines(["*1 failed*"])


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_quiet_shows_nothing_of_it(waiting: Project, workers: list[str]) -> None:
    result = waiting.run_apart("--vllmperf", "-q", *workers)
    result.stdout.no_fnmatch_line("*waiting for cpu*")
    result.stderr.no_fnmatch_line("*waiting for cpu*")
