"""The LoRA adapters of requests, as the offline engine hands them to vLLM; vLLM is faked."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pytest_vllmperf.engines import forkserver

FOLDER = Path(forkserver.__file__).parent / "child"
SCRIPTS = ("vllmperf_offline", "vllmperf_prompts", "vllmperf_process", "vllmperf_cpu_build")
ADAPTERS = {"sql": "the adapter sql", "chat": "the adapter chat"}
MODEL = SimpleNamespace(skip_tokenizer_init=True, max_model_len=64)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    vllm, sampling = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    vllm.__dict__["SamplingParams"] = SimpleNamespace
    sampling.__dict__["RequestOutputKind"] = SimpleNamespace(FINAL_ONLY="final")
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", sampling)
    made = importlib.import_module("vllmperf_offline").OfflineEngine()
    made.llm = SimpleNamespace(llm_engine=SimpleNamespace(vllm_config=SimpleNamespace(model_config=MODEL)))
    made.adapters = ADAPTERS
    yield made
    for name in SCRIPTS:
        sys.modules.pop(name, None)


def requests(*adapters: str | None) -> list[dict[str, Any]]:
    return [
        {"index": number, "prompt_token_ids": [5, 6], "output_tokens": 2, **({"adapter": name} if name else {})}
        for number, name in enumerate(adapters)
    ]


def test_a_measured_request_is_sent_with_the_adapter_that_it_names(engine: Any) -> None:
    sent = engine.prepare(requests("chat", None, "sql"), {})
    assert [one["lora_request"] for one in sent] == ["the adapter chat", None, "the adapter sql"]


@pytest.mark.parametrize(
    ("names", "handed"),
    [((None, "sql"), {"lora_request": [None, "the adapter sql"]}), ((None, None), {})],
)
def test_so_is_one_that_is_continued(engine: Any, names: tuple[str | None, ...], handed: dict[str, Any]) -> None:
    """Without any adapter the argument is left out."""
    given: list[dict[str, Any]] = []
    engine.llm.generate = lambda prompts, parameters, *, use_tqdm, **more: given.append(more) or []
    engine.generate(requests(*names))
    assert given == [handed]
