"""What stands in for llm-compressor and its companions, which cannot be installed beside vLLM."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pytest_vllmperf.calibration.quantize import QuantizeSettings, quantize
from pytest_vllmperf.errors import ModelError

BEGIN = 1
GPTQ = QuantizeSettings("gptq", samples=2, group_size=32, max_length=64)


@dataclass
class Library:
    """transformers, llm-compressor, datasets and torch, as far as they are called; remembers what it was given.

    Attributes:
        dtype: what the model was trained in.
        cuda: whether there is a GPU.
        sizes: bytes of the files that are saved.
        failing: what is raised, by the step that raises it.
        loaded: what was loaded, and how.
        calls: arguments of every calibration, and the model's dtype at that time.
        pinned: how often memory was pinned.
    """

    dtype: str = "torch.bfloat16"
    cuda: bool = False
    sizes: dict[str, int] = field(default_factory=lambda: {"model.safetensors": 10, "tokenizer.json": 10})
    failing: dict[str, BaseException] = field(default_factory=dict)
    loaded: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    pinned: int = 0

    def step(self, name: str) -> None:
        if name in self.failing:
            raise self.failing[name]

    def auto(self, kind: type[Tokenizer | Model]) -> Any:
        def from_pretrained(model: str, **options: Any) -> Tokenizer | Model:
            self.step(f"load {kind.__name__}")
            self.loaded.append((kind.__name__, model, options))
            return kind(self)

        return SimpleNamespace(from_pretrained=from_pretrained)

    def oneshot(self, **arguments: Any) -> None:
        self.step("oneshot")
        self.calls.append({**arguments, "dtype": arguments["model"].dtype})
        cache: Any = sys.modules["llmcompressor.pipelines.cache"]
        if hasattr(cache.IntermediatesCache, "pin_memory"):
            cache.IntermediatesCache().pin_memory()

    def pin(self) -> None:
        if not self.cuda:
            raise RuntimeError("Cannot access accelerator device when none is available.")
        self.pinned += 1

    def save(self, folder: Path, name: str) -> None:
        (folder / name).write_bytes(b"x" * self.sizes[name])
        self.step(f"save {name}")


class Tokenizer:
    """A token per character; as in transformers, text gets a first token and a template gives a dictionary."""

    def __init__(self, library: Library) -> None:
        self.library = library

    def encode(self, text: str) -> list[int]:
        return [BEGIN, *map(ord, text)]

    def apply_chat_template(
        self, messages: list[Any], tokenize: bool, add_generation_prompt: bool, return_dict: bool = True
    ) -> Any:
        self.library.step("template")
        text = "".join(f"<{message['role']}>{message['content']}" for message in messages)
        text += "<assistant>" * add_generation_prompt
        ids = [ord(character) for character in text]
        return {"input_ids": ids} if return_dict else ids if tokenize else text

    def save_pretrained(self, folder: Path) -> None:
        self.library.save(folder, "tokenizer.json")


class Model:
    """A model that knows its dtype."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.dtype = library.dtype

    def half(self) -> Model:
        self.dtype = "torch.float16"
        return self

    def save_pretrained(self, folder: Path, save_compressed: bool = False) -> None:
        (folder / "config.json").write_text(json.dumps({"compressed": save_compressed}))
        self.library.save(folder, "model.safetensors")


def modifier(name: str) -> Any:
    return lambda **arguments: (name, arguments)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    cache = type("IntermediatesCache", (), {"pin_memory": lambda self: library.pin()})
    modules: dict[str, dict[str, Any]] = {
        "transformers": {"AutoTokenizer": library.auto(Tokenizer), "AutoModelForCausalLM": library.auto(Model)},
        "datasets": {"Dataset": SimpleNamespace(from_list=lambda rows: {"rows": rows})},
        "torch": {"cuda": SimpleNamespace(is_available=lambda: library.cuda)},
        "llmcompressor": {"oneshot": library.oneshot},
        "llmcompressor.pipelines.cache": {"IntermediatesCache": cache},
        "llmcompressor.modifiers.gptq": {"GPTQModifier": modifier("gptq")},
        "llmcompressor.modifiers.transform.awq": {"AWQModifier": modifier("awq")},
        "llmcompressor.modifiers.quantization": {"QuantizationModifier": modifier("plain")},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    return library


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write(tmp_path / "prompts.jsonl", {"prompt": "one"}, {"text": "two"}, {"prompt": "three"})


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "made" / "model-gptq"


def left(output: Path) -> set[str]:
    """What lies where the output should be, but for the lock."""
    return {path.name for path in output.parent.glob("*")} - {f"{output.name}.lock"}


def refused(output: Path, prompts: Path, settings: QuantizeSettings = GPTQ, model: str = "org/model") -> str:
    with pytest.raises(ModelError) as caught:
        quantize(model, output, prompts, settings)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message
