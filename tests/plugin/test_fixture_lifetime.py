"""Fixtures stay alive until the verdict; tests wait for each other only where nothing that they used is gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import EngineStartError
from pytest_vllmperf.records.spec import EngineSpec

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

MODEL = """\
@pytest.fixture(scope="{scope}")
def model(tmp_path_factory):
    file = tmp_path_factory.mktemp("models") / "model"
    file.touch()
    yield file
    file.unlink()

@pytest.mark.parametrize("number", [1, 2])
def test_chat(vllmperf, model, number):
    engine = vllmperf.engine(model, backend="simulated", step_seconds={step})
    vllmperf.check(vllmperf.measure(WORK, engine=engine))
"""


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The model of every engine start; a start fails where the model's file is gone, as vLLM's would."""
    started: list[str] = []

    def start(spec: EngineSpec, number: int = 0) -> SimulatedEngine:
        if spec.model.startswith("/") and not Path(spec.model).exists():
            raise EngineStartError(f"the model path {spec.model} does not exist")
        started.append(spec.model)
        return SimulatedEngine(spec, number)

    monkeypatch.setattr("pytest_vllmperf.engines.simulated.SimulatedEngine", start)
    return started


@pytest.mark.parametrize(("scope", "starts"), [("function", 6), ("module", 3), ("session", 3)])
def test_a_model_that_a_fixture_made_is_there_when_it_is_measured_again(
    project: Project, files: list[str], scope: str, starts: int
) -> None:
    project.module(MODEL.format(scope=scope, step=0.01))
    project.run("--vllmperf-update").assert_outcomes(passed=2)
    assert project.sessions("test_chat[1]") == project.sessions("test_chat[2]") == [3]
    assert len(files) == starts


def test_under_xdist_too(project: Project) -> None:
    project.module(MODEL.format(scope="function", step=0.01))
    project.run("--vllmperf-update", "-n", "1").assert_outcomes(passed=2)
    assert project.sessions("test_chat[1]") == [3]


@pytest.mark.parametrize(
    ("fixture", "shared"),
    [
        ("def own(): return 1", True),
        ("def own(record_property): return 1", True),
        ("def own(): yield 1", False),
        ("def own(monkeypatch): monkeypatch.setenv('A', '1')", False),
        ("def own(request): request.addfinalizer(print)", False),
        ("def own(tmp_path): return tmp_path", False),
    ],
)
def test_tests_share_starts_where_nothing_is_torn_down(
    project: Project, starts: list[str], fixture: str, shared: bool
) -> None:
    project.module(f"""
@pytest.fixture
{fixture}

@pytest.mark.vllm("sim", backend="simulated")
@pytest.mark.parametrize("number", [1, 2])
def test_chat(vllmperf, own, number):
    vllmperf.check(vllmperf.measure(WORK))
""")
    project.run("--vllmperf-update").assert_outcomes(passed=2)
    assert len(starts) == (3 if shared else 5), "the second test starts on the engine that the first has left"


def test_a_finalizer_of_the_test_itself_waits_for_its_verdict(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may end a server, or take back a setting, that further engine starts need as the first one did."""
    project.module("""
import os

@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.vllm("sim", backend="simulated")
def test_chat(vllmperf, request, number):
    os.environ["SET_BY_TEST"] = "1"
    request.addfinalizer(lambda: os.environ.pop("SET_BY_TEST"))
    vllmperf.check(vllmperf.measure(WORK))
""")
    seen: list[bool] = []

    def start(spec: EngineSpec, number: int = 0) -> SimulatedEngine:
        seen.append("SET_BY_TEST" in os.environ)
        return SimulatedEngine(spec, number)

    monkeypatch.setattr("pytest_vllmperf.engines.simulated.SimulatedEngine", start)
    project.run("--vllmperf-update").assert_outcomes(passed=2)
    assert seen == [True] * 5


def test_an_autouse_fixture_counts(project: Project, starts: list[str]) -> None:
    project.write("conftest.py", "import pytest\n@pytest.fixture(autouse=True)\ndef server():\n    yield\n")
    project.perf_tests("test_a", "test_b")
    project.run("--vllmperf-update").assert_outcomes(passed=2)
    assert len(starts) == 5


def test_a_wider_fixture_with_another_parameter_is_gone(project: Project, files: list[str]) -> None:
    project.module("""
@pytest.fixture(scope="module", params=["a", "b"])
def model(request, tmp_path_factory):
    file = tmp_path_factory.mktemp("models") / "model"
    file.touch()
    yield file
    file.unlink()

def test_chat(vllmperf, model):
    vllmperf.check(vllmperf.measure(WORK, engine=vllmperf.engine(model, backend="simulated")))
""")
    project.run("--vllmperf-update").assert_outcomes(passed=2)
    assert len(files) == 6


def test_a_neighbour_that_is_skipped_in_setup_does_not_hold_the_others_up(project: Project, starts: list[str]) -> None:
    project.module("""
@pytest.fixture(scope="module")
def server():
    yield

@pytest.fixture
def never():
    pytest.skip("not here")

@pytest.mark.vllm("sim", backend="simulated")
def test_a(vllmperf, server):
    vllmperf.check(vllmperf.measure(WORK))

@pytest.mark.vllm("sim", backend="simulated")
def test_b(vllmperf, server, never):
    pass
""")
    result = project.run("--vllmperf-update")
    result.assert_outcomes(passed=1, skipped=1)
    assert project.sessions("test_a") == [3]
