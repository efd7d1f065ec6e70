"""A typo in an engine argument is one line at once: nothing is imported, no process is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines.test_arguments import write

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.fixture(autouse=True)
def _vllm(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vLLM of which only the source is there, and no server process."""

    def start(*_: object) -> None:
        raise AssertionError("a server process was started")

    monkeypatch.setattr("pytest_vllmperf.engines.launcher.ForkServer", start)
    write(project.root / "modules")
    monkeypatch.setenv("PYTHONPATH", str(project.root / "modules"))


@pytest.mark.parametrize("place", ["max_modl_len=4096", "per_gpu={'.*': {'max_modl_len': 4096}}, max_modl_len=1"])
def test_it_is_refused_with_the_nearest_name(project: Project, place: str) -> None:
    project.module(f"""
@pytest.mark.vllm("org/model", {place})
def test_typo(vllmperf):
    vllmperf.measure(WORK)
""")
    result = project.run("--vllmperf", "--tb=long")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["model: vLLM has no engine argument 'max_modl_len' (did you mean max_model_len?)"])
    for trace in ("Traceback", "launcher.py", "arguments.py", "server process was started"):
        assert trace not in result.stdout.str()


def test_an_argument_that_exists_goes_to_vllm(project: Project) -> None:
    project.module("""
@pytest.mark.vllm("org/model", max_model_len=4096)
def test_right(vllmperf):
    vllmperf.measure(WORK)
""")
    result = project.run("--vllmperf")
    result.stdout.fnmatch_lines(["*a server process was started*"])
