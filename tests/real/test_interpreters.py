"""Interpreters: one without vLLM, and one whose vLLM is broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.errors import EngineStartError
from pytest_vllmperf.records.spec import EngineSpec

from .conftest import MODEL, quiet


@pytest.fixture
def bare_interpreter(tmp_path: Path) -> Path:
    """A virtual environment without vLLM."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    return tmp_path / "bare" / "bin" / "python"


def test_an_interpreter_without_vllm_is_told_what_to_install(launcher: Launcher, bare_interpreter: Path) -> None:
    with pytest.raises(EngineStartError, match=r"not installed for .*bare/bin/python; install .*\[cuda\].*\[cpu\]"):
        launcher.start(EngineSpec.create(MODEL, python=bare_interpreter), {}, quiet)


def test_a_vllm_that_cannot_be_imported_is_told_with_its_error(launcher: Launcher, bare_interpreter: Path) -> None:
    site = next((bare_interpreter.parent.parent / "lib").glob("python*/site-packages"))
    (site / "vllm.py").write_text("import a_module_that_is_not_there\n")
    with pytest.raises(EngineStartError, match=r"cannot be imported .*No module named 'a_module_that_is_not_there'"):
        launcher.start(EngineSpec.create(MODEL, python=bare_interpreter), {}, quiet)
