"""LoRA adapters: named by a workload, part of what a baseline belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.models import make_adapter

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def adapter(project: Project, name: str, seed: int = 1) -> Path:
    return make_adapter(project.root / "adapters" / name, seed=seed)


def asks(project: Project, model: object, *names: str, **engine: object) -> None:
    """Write a test whose workload asks for adapters of an engine that has those of these names."""
    modules = {name: str(project.root / "adapters" / name) for name in names}
    given = {"backend": "simulated", "enable_lora": True, "lora_modules": modules, **engine}
    arguments = ", ".join(f"{key}={value!r}" for key, value in given.items())
    project.module(
        f"@pytest.mark.vllm('sim', {arguments})\ndef test_chat(vllmperf):\n"
        f"    run = vllmperf.measure(WORK.asking(model={model!r}))\n    vllmperf.check(run)\n"
    )


def changed(project: Project, name: str) -> None:
    """Train an adapter anew, into the same place."""
    (project.root / "adapters" / name).rename(project.root / "before")
    adapter(project, name, seed=2)


@pytest.mark.parametrize("model", ["sql", ["sql", None]])
def test_a_changed_adapter_is_not_compared(project: Project, workers: list[str], model: object) -> None:
    adapter(project, "sql")
    asks(project, model, "sql")
    project.record(*workers)
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
    changed(project, "sql")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["NOT_COMPARABLE  test_chat: adapter sql changed"])


def test_an_adapter_that_nobody_asks_for_may_change(project: Project) -> None:
    adapter(project, "sql")
    adapter(project, "other")
    asks(project, "sql", "sql", "other")
    project.record()
    changed(project, "other")
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_the_same_adapter_elsewhere_is_the_same(project: Project) -> None:
    adapter(project, "sql")
    asks(project, "sql", "sql")
    project.record()
    (project.root / "adapters").rename(project.root / "moved")
    asks(project, "sql", lora_modules={"sql": str(project.root / "moved" / "sql")})
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_another_adapter_is_other_work(project: Project) -> None:
    adapter(project, "sql")
    adapter(project, "chat")
    asks(project, "sql", "sql", "chat")
    project.record()
    asks(project, "chat", "sql", "chat")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["NOT_COMPARABLE  test_chat: *model sql -> chat*"])


@pytest.mark.parametrize(
    ("model", "engine", "line"),
    [
        ("chat", {}, "sim: the workload asks for the model 'chat', but the engine has no adapter of that name; it has "
         "sql. Adapters are named in the engine's lora_modules={'NAME': 'PATH'}, with enable_lora=True"),
        ("chat", {"lora_modules": None}, "asks for the model 'chat', but the engine has no adapter of that name; it "
         "has none."),
        ("sql", {"enable_lora": False}, "lora_modules needs enable_lora=True; add it to the engine's arguments"),
        ("sql", {"lora_modules": {"sql": "/nowhere"}}, "lora_modules: adapter 'sql': /nowhere has no "
         "adapter_config.json; name the folder of a LoRA adapter"),
        ("sql", {"lora_modules": 3}, "lora_modules=3 must be a dictionary"),
        ("sql", {"lora_modules": ["sql"]}, "lora_modules: 'sql' names no adapter"),
    ],
)  # fmt: skip
def test_an_adapter_that_is_not_there_is_one_line(
    project: Project, starts: list[str], model: str, engine: dict[str, object], line: str
) -> None:
    adapter(project, "sql")
    asks(project, model, "sql", **engine)
    result = project.run("--vllmperf")
    assert result.ret != pytest.ExitCode.OK
    assert line in " ".join([*result.outlines, *result.errlines])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert starts == []


def test_a_backend_without_adapters_says_so(project: Project) -> None:
    body = "@pytest.mark.vllm('m', backend='transformers')\ndef test_chat(vllmperf):\n"
    project.module(body + "    vllmperf.measure(WORK.asking(model='sql'))\n")
    result = project.run("--vllmperf")
    text = " ".join(result.stdout.str().split())
    assert "asks for the model 'sql', which backend='transformers' cannot be sent; take 'offline' or 'serve'" in text
