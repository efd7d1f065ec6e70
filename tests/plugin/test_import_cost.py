from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

HEAVY = {"torch", "vllm", "numpy", "scipy", "pydantic", "pynvml", "psutil", "filelock", "tabulate", "transformers"}
DUMP = """\
import json, pathlib, sys
import pytest

@pytest.hookimpl(trylast=True)
def pytest_unconfigure():
    pathlib.Path("modules.json").write_text(json.dumps(sorted(sys.modules)))
"""


def _imported(project: Project, *args: str) -> set[str]:
    """Top-level and full names of what a run of its own has imported when it ends."""
    project.write("conftest.py", DUMP)
    project.pytester._monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # others import what they like
    result = project.pytester.runpytest_subprocess("-p", "vllmperf", *args)
    assert result.ret == 0
    modules = json.loads((project.root / "modules.json").read_text())
    assert "pytest_vllmperf.plugin" in modules
    return {name.split(".")[0] for name in modules} | set(modules)


def test_an_unarmed_run_imports_next_to_nothing(project: Project) -> None:
    project.perf_tests()
    project.write("test_plain.py", "def test_plain(): pass\n")
    imported = _imported(project)
    assert "pytest_vllmperf.workload" in imported  # a test module's own import
    assert imported & HEAVY == set()
    assert "pytest_vllmperf.harness.armed" not in imported


def test_an_armed_run_never_imports_vllm(project: Project) -> None:
    project.perf_tests()
    imported = _imported(project, "--vllmperf-update")
    assert {"numpy", "pydantic"} <= imported
    assert imported & {"torch", "vllm", "transformers"} == set()
