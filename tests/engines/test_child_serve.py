"""The served child's script, as far as it goes without vLLM: which arguments are written as on the command line."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_vllmperf.engines import forkserver

FOLDER = Path(forkserver.__file__).parent / "child"
SCRIPTS = ("vllmperf_serve", "vllmperf_offline", "vllmperf_cpu_build", "vllmperf_process")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    yield importlib.import_module("vllmperf_serve")
    for name in SCRIPTS:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("value", [3, 0.5, None, True, "text", ["a", "b"], []])
def test_plain_values_stay_what_they_are(script: ModuleType, value: Any) -> None:
    assert script.words("max_num_seqs", value) == []


def test_vllm_makes_its_own_objects_of_dictionaries(script: ModuleType) -> None:
    option, text = script.words("structured_outputs_config", {"backend": "xgrammar", "disable_fallback": True})
    assert option == "--structured-outputs-config"
    assert json.loads(text) == {"backend": "xgrammar", "disable_fallback": True}


def test_adapters_are_objects_or_words(script: ModuleType) -> None:
    option, first, second = script.words("lora_modules", [{"name": "a", "path": "/a"}, "b=/b"])
    assert (option, json.loads(first), second) == ("--lora-modules", {"name": "a", "path": "/a"}, "b=/b")
