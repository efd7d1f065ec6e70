"""A model folder that does not exist is one line at once: nothing is imported, and no hub is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.fixture(autouse=True)
def _no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is started after all is an error of another kind."""

    def start(*_: object) -> None:
        raise AssertionError("a server process was started")

    monkeypatch.setattr("pytest_vllmperf.engines.launcher.ForkServer", start)
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_USE_MODELSCOPE", "VLLM_MODEL_REDIRECT_PATH"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize("backend", ["offline", "transformers"])
@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("'./nope'", "the model path ./nope does not exist; relative paths start at *"),
        ("pathlib.Path('nope')", "the model path ./nope does not exist; relative paths start at *"),
        ("pathlib.Path('models/nope')", "the model path ./models/nope does not exist; relative paths start at *"),
        (
            "'models/nope'",
            "there is no models/nope in *, and the Hugging Face cache holds no model of this name; if it is *",
        ),
    ],
)
def test_it_is_refused(project: Project, model: str, line: str, backend: str) -> None:
    (project.root / "models").mkdir()
    project.module(f"""
import pathlib

@pytest.mark.vllm({model}, backend={backend!r})
def test_missing(vllmperf):
    vllmperf.measure(WORK)
""")
    result = project.run("--vllmperf", "--tb=long")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([line])
    for trace in ("Traceback", "launcher.py", "location.py", "server process was started"):
        assert trace not in result.stdout.str()
