"""Calibrated quantization around llm-compressor: what it is given, and what is left behind."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.calibration.quantize import RECORD, quantize

from .conftest import BEGIN, GPTQ, Library, left, refused, write

MADE = {"config.json", "model.safetensors", "tokenizer.json", RECORD}
USER = {"role": "user", "content": "Hi"}
SAID = {"role": "assistant", "content": "Yes"}


def texts(library: Library) -> list[str]:
    """The calibration prompts as the model got them."""
    (call,) = library.calls
    return ["".join(map(chr, row["input_ids"])) for row in call["dataset"]["rows"]]


def test_a_model_is_calibrated_and_saved(library: Library, output: Path, prompts: Path) -> None:
    assert quantize("org/model", output, prompts, GPTQ) == output
    assert left(output) == {output.name}
    assert {path.name for path in output.iterdir()} == MADE
    assert json.loads((output / "config.json").read_text()) == {"compressed": True}
    assert stat.S_IMODE(output.stat().st_mode) == 0o755
    told = {"model": "org/model", **asdict(GPTQ)}
    assert json.loads((output / RECORD).read_text()).items() >= told.items()
    assert library.loaded == [
        ("Tokenizer", "org/model", {"trust_remote_code": False}),
        ("Model", "org/model", {"trust_remote_code": False, "dtype": "auto"}),
    ]


def test_the_first_prompts_are_what_it_calibrates_on(library: Library, output: Path, prompts: Path) -> None:
    quantize("org/model", output, prompts, GPTQ)
    assert texts(library) == ["\1one", "\1two"]
    (call,) = library.calls
    assert (call["num_calibration_samples"], call["max_seq_length"]) == (2, 64)
    assert (call["shuffle_calibration_samples"], call["log_dir"]) == (False, None)


@pytest.mark.parametrize(
    ("line", "max_length", "text"),
    [
        ({"prompt": "Hello"}, 9, "\1Hello"),
        ({"prompt": "Hello"}, 3, "\1He"),
        ({"messages": [USER]}, 99, "<user>Hi<assistant>"),
        ({"messages": [{**USER, "role": "system"}, USER]}, 99, "<system>Hi<user>Hi<assistant>"),
        ({"messages": [USER, SAID]}, 99, "<user>Hi<assistant>Yes"),
        ({"messages": [USER, SAID, USER]}, 99, "<user>Hi<assistant>Yes<user>Hi<assistant>"),
        ({"messages": [USER]}, 10, "<user>Hi<a"),
    ],
)
def test_a_prompt_is_seen_as_the_engine_sees_it(
    line: dict[str, Any], max_length: int, text: str, library: Library, output: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "one.jsonl", line)
    quantize("org/model", output, path, replace(GPTQ, samples=1, max_length=max_length))
    assert texts(library) == [text]
    (row,) = library.calls[0]["dataset"]["rows"]
    assert row["attention_mask"] == [1] * len(text)
    assert (row["input_ids"][0] == BEGIN) == ("prompt" in line)


@pytest.mark.parametrize("group_size", [32, 128])
@pytest.mark.parametrize(("scheme", "symmetric", "names"), [("gptq", True, ["gptq"]), ("awq", False, ["awq", "plain"])])
def test_the_recipe_is_the_scheme_and_its_groups(
    scheme: str, symmetric: bool, names: list[str], group_size: int, library: Library, output: Path, prompts: Path
) -> None:
    quantize("org/model", output, prompts, replace(GPTQ, scheme=scheme, group_size=group_size))
    recipe = library.calls[0]["recipe"]
    assert [name for name, _ in recipe] == names
    weights = {"num_bits": 4, "type": "int", "symmetric": symmetric, "strategy": "group", "group_size": group_size}
    group = {"targets": ["Linear"], "weights": weights}
    assert recipe[-1][1] == {"config_groups": {"group_0": group}, "ignore": ["lm_head"]}


@pytest.mark.parametrize(
    ("trained", "computed"),
    [("torch.float32", "torch.float16"), ("torch.bfloat16", "torch.bfloat16"), ("torch.float16", "torch.float16")],
)
def test_only_single_precision_is_halved(
    trained: str, computed: str, library: Library, output: Path, prompts: Path
) -> None:
    library.dtype = trained
    quantize("org/model", output, prompts, GPTQ)
    assert library.calls[0]["dtype"] == computed


@pytest.mark.parametrize(("cuda", "pinned"), [(False, 0), (True, 1)])
def test_memory_is_pinned_only_where_there_is_a_gpu(
    cuda: bool, pinned: int, library: Library, output: Path, prompts: Path
) -> None:
    library.cuda = cuda
    cache: Any = sys.modules["llmcompressor.pipelines.cache"]
    before = cache.IntermediatesCache.pin_memory
    quantize("org/model", output, prompts, GPTQ)
    assert library.pinned == pinned
    assert cache.IntermediatesCache.pin_memory is before


def test_a_library_that_does_not_pin_is_left_alone(library: Library, output: Path, prompts: Path) -> None:
    cache: Any = sys.modules["llmcompressor.pipelines.cache"]
    del cache.IntermediatesCache.pin_memory
    assert quantize("org/model", output, prompts, GPTQ) == output


@pytest.mark.parametrize(("chosen", "seen"), [(None, "false"), ("true", "true")])
def test_tokenizers_run_on_one_core_unless_told_otherwise(
    chosen: str | None, seen: str, library: Library, output: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They warn about forks otherwise."""
    if chosen is None:
        monkeypatch.delenv("TOKENIZERS_PARALLELISM")
    else:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", chosen)
    quantize("org/model", output, prompts, GPTQ)
    assert os.environ["TOKENIZERS_PARALLELISM"] == seen


def states(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((p.name, p.stat().st_ino, p.stat().st_mtime_ns) for p in [folder, *folder.iterdir()])


def test_a_finished_model_is_left_as_it_is(
    library: Library, output: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize("org/model", output, prompts, GPTQ)
    before = states(output)
    assert quantize("org/model", output, prompts, GPTQ) == output
    monkeypatch.setitem(sys.modules, "llmcompressor", None)
    assert quantize("org/model", output, prompts, GPTQ) == output, "nothing has to be installed to find it"
    assert states(output) == before
    assert (len(library.calls), len(library.loaded)) == (1, 2)


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"scheme": "awq"}, "scheme"),
        ({"group_size": 64}, "group_size"),
        ({"max_length": 65}, "max_length"),
        ({"samples": 3}, "samples, prompts"),
        ({"samples": 1, "group_size": 64}, "samples, group_size, prompts"),
    ],
)
def test_a_model_made_otherwise_is_refused(
    change: dict[str, Any], differing: str, library: Library, output: Path, prompts: Path
) -> None:
    quantize("org/model", output, prompts, GPTQ)
    before = states(output)
    words = f"{output} holds a model with another {differing}; remove it, or choose another folder with --output"
    assert refused(output, prompts, replace(GPTQ, **change)) == words
    assert states(output) == before
    assert len(library.calls) == 1


def test_another_model_and_other_prompts_are_refused(library: Library, output: Path, prompts: Path) -> None:
    quantize("org/model", output, prompts, GPTQ)
    assert "another model;" in refused(output, prompts, model="org/other")
    for line in ({"prompt": "four"}, {"messages": [{"role": "user", "content": "one"}]}):
        write(prompts, line, {"prompt": "two"})
        assert "another prompts;" in refused(output, prompts)
    chat = [{"messages": [USER]}, {"messages": [SAID]}]
    quantize("org/model", output.with_name("chat"), write(prompts, *chat), GPTQ)
    assert "another prompts;" in refused(output.with_name("chat"), write(prompts, *reversed(chat)))
    write(prompts, {"id": 1, "text": "one"}, {"prompt": "two"}, {"prompt": "not used"})
    assert quantize("org/model", output, prompts, GPTQ) == output, "the same prompts, written otherwise"


@pytest.mark.parametrize("record", [None, b"", b'{"model": "org', b"[]", b"null", b'"model"', b"\xff"])
def test_a_folder_that_was_not_finished_here_is_refused(
    record: bytes | None, library: Library, output: Path, prompts: Path
) -> None:
    output.mkdir(parents=True)
    (output / "model.safetensors").write_bytes(b"mine")
    if record is not None:
        (output / RECORD).write_bytes(record)
    before = states(output)
    words = f"{output} exists and is not a finished result of this command; choose another folder with --output"
    assert refused(output, prompts) == words
    assert states(output) == before
    assert library.loaded == []


def test_a_file_in_the_place_of_the_folder_is_refused(library: Library, output: Path, prompts: Path) -> None:
    output.parent.mkdir()
    output.write_text("mine")
    assert "is not a finished result of this command" in refused(output, prompts)
    assert output.read_text() == "mine"


def test_makers_at_the_same_time_make_it_once(library: Library, output: Path, prompts: Path) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(quantize("org/model", output, prompts, GPTQ))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [output] * 4
    assert len(library.calls) == 1
