"""What keeps a model from being quantized: told in one line, and nothing is left under its name."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.calibration.quantize import RECORD, quantize
from tests.faults import files_up_to

from .conftest import GPTQ, Library, left, refused, write

NEEDED = ["llmcompressor", "transformers", "datasets"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scheme": "int3"}, "--scheme 'int3' does not exist; choose one of awq, gptq"),
        ({"scheme": "AWQ"}, "--scheme 'AWQ' does not exist; choose one of awq, gptq"),
        ({"samples": 0}, "--samples 0 must be at least 1"),
        ({"group_size": 0}, "--group-size 0 must be at least 1"),
        ({"group_size": -1}, "--group-size -1 must be at least 1"),
        ({"max_length": 0}, "--max-length 0 must be at least 1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    change: dict[str, Any], words: str, library: Library, output: Path, prompts: Path
) -> None:
    assert refused(output, prompts, replace(GPTQ, **change)) == words
    assert not output.parent.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ": calibration prompts cannot be read: No such file or directory"),
        ("", ": no calibration prompts; "),
        ('{"prompt": "a"}\nb\n', ":2: not JSON: "),
        ('{"prompt": "a"}\n', ": 1 prompts, but --samples asks for 2; "),
    ],
)
def test_prompts_are_read_before_anything_is_loaded_or_made(
    content: str | None, words: str, library: Library, output: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mine.jsonl"
    if content is not None:
        path.write_text(content)
    assert refused(output, path).startswith(f"{path}{words}")
    assert library.loaded == []
    assert not output.parent.exists()


@pytest.mark.parametrize("missing", NEEDED)
def test_a_missing_library_is_told_with_its_remedy(
    missing: str, library: Library, output: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    message = refused(output, prompts)
    assert message.startswith(f"{missing} is not installed in this environment")
    assert message.endswith("pip install 'pytest-vllmperf[quantize]'")
    assert left(output) == set()
    assert library.loaded == []


def test_a_library_that_is_there_but_broken_is_one_line(
    library: Library, output: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "transformers.py").write_text("raise ImportError('built for another numpy\\nsee there')")
    monkeypatch.delitem(sys.modules, "transformers")
    monkeypatch.syspath_prepend(tmp_path)
    assert refused(output, prompts) == "org/model could not be loaded: built for another numpy"
    assert left(output) == set()


@pytest.mark.parametrize("step", ["load Tokenizer", "load Model"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            OSError("\norg/model is no folder, and no repository\nIf it is private, log in"),
            "org/model is no folder, and",
        ),
        (
            ValueError("Unrecognized configuration class\nModel type should be one of"),
            "Unrecognized configuration class",
        ),
        (PermissionError(13, "Permission denied", "config.json"), "[Errno 13] Permission denied: 'config.json'"),
        (KeyError(), "KeyError"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_one_line(
    error: Exception, reason: str, step: str, library: Library, output: Path, prompts: Path
) -> None:
    library.failing[step] = error
    assert refused(output, prompts).startswith(f"org/model could not be loaded: {reason}")
    assert left(output) == set()


@pytest.mark.parametrize("step", ["template", "oneshot", "save model.safetensors", "save tokenizer.json"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("group_size 128 does not divide 72\n\ndetails"), "group_size 128 does not divide 72"),
        (RuntimeError("\n  I/O error: No space left on device (os error 28)"), "I/O error: No space left on device"),
        (OSError("no such kernel\nanywhere"), "no such kernel"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_an_error_of_the_library_is_one_line(
    error: Exception, reason: str, step: str, library: Library, output: Path, tmp_path: Path
) -> None:
    library.failing[step] = error
    path = write(tmp_path / "chat.jsonl", {"messages": [{"role": "user", "content": "Hi"}]})
    message = refused(output, path, replace(GPTQ, samples=1))
    assert message.startswith(f"llm-compressor could not quantize org/model: {reason}")
    assert left(output) == set()


@pytest.mark.parametrize("fails", ["model.safetensors", "tokenizer.json", RECORD])
def test_a_full_disk_leaves_nothing_behind(fails: str, library: Library, output: Path, prompts: Path) -> None:
    if fails in library.sizes:
        library.sizes[fails] = 5000
    with files_up_to(4000 if fails in library.sizes else 100):
        message = refused(output, prompts)
    assert message == f"{output}: the model could not be written: File too large"
    assert len(library.calls) == 1
    assert left(output) == set()
    assert quantize("org/model", output, prompts, GPTQ) == output, "with room again"


@pytest.mark.parametrize("step", ["load Model", "oneshot", "save model.safetensors"])
def test_an_interrupted_command_leaves_nothing_behind(step: str, library: Library, output: Path, prompts: Path) -> None:
    library.failing[step] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        quantize("org/model", output, prompts, GPTQ)
    assert left(output) == set()


def test_below_a_regular_file_it_cannot_be_written(library: Library, tmp_path: Path, prompts: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    output = tmp_path / "file" / "models" / "mine"
    assert refused(output, prompts) == f"{output}: the model could not be written: Not a directory"
    assert library.loaded == []


def test_a_model_with_files_that_cannot_be_read_is_refused(
    library: Library, output: Path, prompts: Path, tmp_path: Path
) -> None:
    """A hub's cache is links; one whose target was removed is no file any more."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").symlink_to(tmp_path / "gone")
    message = refused(output, prompts, model=str(model))
    assert message == f"{model} could not be read: {model / 'model.safetensors'}: No such file or directory"
    assert not output.parent.exists()


def test_a_chat_of_many_levels_can_be_recorded(library: Library, output: Path, tmp_path: Path) -> None:
    nested: Any = "Hi"
    for _ in range(600):
        nested = [nested]
    path = write(tmp_path / "deep.jsonl", {"messages": [{"role": "user", "content": nested}]})
    quantize("org/model", output, path, replace(GPTQ, samples=1))
    assert json.loads((output / RECORD).read_text())["samples"] == 1
