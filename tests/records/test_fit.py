"""The marker of a memory limit: what is pasted runs the same engine, and shows no secret."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.records.fit import Fit
from pytest_vllmperf.records.spec import EngineSpec


def marker(model: str = "Qwen/Qwen3-0.6B", **kwargs: Any) -> str:
    return Fit(0.86, None, 8192, (), EngineSpec.create(model, **kwargs)).marker


def test_it_names_model_and_arguments() -> None:
    assert marker(gpu_memory_utilization=0.86, max_model_len=8192, dtype="float16") == (
        '@pytest.mark.vllm("Qwen/Qwen3-0.6B", dtype="float16", gpu_memory_utilization=0.86, max_model_len=8192)'
    )


def test_another_backend_and_variables_are_named() -> None:
    shown = marker(backend="serve", env={"VLLM_USE_V1": "1", "HF_TOKEN": "hf_secret"})
    assert shown.startswith('@pytest.mark.vllm("Qwen/Qwen3-0.6B", backend="serve", env=')
    assert "hf_secret" not in shown


def test_another_interpreter_is_named(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    assert f', python="{python}"' in marker(python=python)


def test_a_secret_argument_is_masked() -> None:
    assert "hf_secret" not in marker(hf_token="hf_secret")


@pytest.mark.parametrize("model", ['a"b', "a'b", "a\\b"])
def test_a_name_with_quotes_is_still_a_literal(model: str) -> None:
    assert eval(marker(model).removeprefix("@pytest.mark.vllm")) == model
