"""The bytes of a checkpoint, told by its headers alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pytest_vllmperf.models import Shape, make_model, tokenizer
from pytest_vllmperf.models.checkpoint import tensor_bytes
from pytest_vllmperf.models.quantization import QUANTIZATIONS
from pytest_vllmperf.models.shapes import is_linear, tensor_shapes

SMALL = Shape(vocab_size=300, hidden_size=16, intermediate_size=24, layers=2, heads=4, kv_heads=2, max_model_len=64)
PACKABLE = Shape(
    vocab_size=300, hidden_size=128, intermediate_size=128, layers=1, heads=4, kv_heads=4, max_model_len=64
)
NUMBERS = sum(math.prod(size) for size in tensor_shapes(SMALL).values())
TENSOR = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


@pytest.fixture(autouse=True)
def _short_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "training_text", lambda seed: [f"words {seed} with number {n}" for n in range(50)])


def stored(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def folder_of(tmp_path: Path, content: bytes) -> str:
    (tmp_path / "model.safetensors").write_bytes(content)
    return str(tmp_path)


@pytest.mark.parametrize(("dtype", "bits"), [("float32", 32), ("bfloat16", 16), ("float16", 16)])
def test_a_model_takes_what_its_numbers_take(tmp_path: Path, dtype: str, bits: int) -> None:
    model = make_model(tmp_path / "model", Shape(**{**vars(SMALL), "dtype": dtype}))
    assert tensor_bytes(str(model)) == NUMBERS * bits // 8


@pytest.mark.parametrize(
    ("dtype", "bits"), [("float64", 64), ("float32", 32), ("bfloat16", 16), ("float16", 16), ("float8", 32), (None, 32)]
)
def test_loaded_as_another_dtype_it_takes_what_that_takes(tmp_path: Path, dtype: str | None, bits: int) -> None:
    model = make_model(tmp_path / "model", SMALL)
    assert tensor_bytes(str(model), dtype) == NUMBERS * bits // 8


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_a_quantized_model_takes_what_its_layout_takes(tmp_path: Path, name: str) -> None:
    model = make_model(tmp_path / "model", PACKABLE, quantization=name)
    sizes = tensor_shapes(PACKABLE)
    plain = sum(2 * math.prod(size) for tensor, size in sizes.items() if not is_linear(tensor))
    layouts = [QUANTIZATIONS[name].layouts(*size) for tensor, size in sizes.items() if is_linear(tensor)]
    assert tensor_bytes(str(model)) == plain + sum(one.nbytes for layout in layouts for one in layout.values())


def test_levels_keep_their_size_whatever_is_loaded_beside_them(tmp_path: Path) -> None:
    arrays = {
        "scales": np.ones(10, dtype=np.float16),
        "wide": np.ones(3, dtype=np.float64),
        "packed": np.ones(7, dtype=np.int32),
        "levels": np.ones(5, dtype=np.int8),
        "codes": np.ones(9, dtype=np.uint8),
    }
    save_file(arrays, tmp_path / "model.safetensors")
    assert tensor_bytes(str(tmp_path)) == 20 + 24 + 28 + 5 + 9
    assert tensor_bytes(str(tmp_path), "float32") == 40 + 12 + 28 + 5 + 9


def test_numbers_of_less_than_a_byte_take_what_lies_on_disk(tmp_path: Path) -> None:
    model = folder_of(tmp_path, stored({"w": {"dtype": "F4", "shape": [4, 4], "data_offsets": [8, 16]}}))
    assert tensor_bytes(model, "bfloat16") == 8


def test_a_scalar_is_one_number(tmp_path: Path) -> None:
    model = folder_of(tmp_path, stored({"w": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}))
    assert tensor_bytes(model, "bfloat16") == 2


def test_the_library_s_own_words_are_no_tensor(tmp_path: Path) -> None:
    model = folder_of(tmp_path, stored({"__metadata__": {"format": "pt"}, "w": TENSOR}))
    assert tensor_bytes(model) == 24


def test_shards_are_taken_together_and_nothing_else_is(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        save_file({"w": np.ones(number, dtype=np.float32)}, tmp_path / f"model-0000{number}-of-00003.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x" * 1000)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    assert tensor_bytes(str(tmp_path)) == 4 * (1 + 2 + 3)


def test_weights_are_not_read(tmp_path: Path) -> None:
    header = {"w": {"dtype": "BF16", "shape": [2**20, 2**20], "data_offsets": [0, 2**41]}}
    assert tensor_bytes(folder_of(tmp_path, stored(header))) == 2**41


def test_what_is_no_folder_with_weights_is_unknown(tmp_path: Path) -> None:
    assert tensor_bytes(str(tmp_path)) is None
    assert tensor_bytes(str(tmp_path / "nowhere")) is None
    assert tensor_bytes("org/name") is None
    folder_of(tmp_path, stored({"w": TENSOR}))
    assert tensor_bytes(str(tmp_path / "model.safetensors")) is None


@pytest.mark.parametrize("kept", [0, 5, 8, 9, 100])
def test_a_file_that_ends_in_its_header_is_unknown(tmp_path: Path, kept: int) -> None:
    model = make_model(tmp_path / "model", SMALL)
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    assert tensor_bytes(str(model)) is None


def test_one_bad_shard_makes_all_unknown(tmp_path: Path) -> None:
    folder_of(tmp_path, stored({"w": TENSOR}))
    (tmp_path / "more.safetensors").write_bytes(b"")
    assert tensor_bytes(str(tmp_path)) is None


def test_a_folder_of_that_name_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    assert tensor_bytes(str(tmp_path)) is None


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", id="Git LFS pointer"),
        pytest.param(b"\xff" * 64, id="all ones"),
        pytest.param((4).to_bytes(8, "little") + b"\xff\xfe\x00{", id="no UTF-8"),
        pytest.param((4).to_bytes(8, "little") + b"{{{{", id="no JSON"),
    ],
)
def test_garbage_is_unknown(tmp_path: Path, content: bytes) -> None:
    assert tensor_bytes(folder_of(tmp_path, content)) is None


@pytest.mark.parametrize(
    "header",
    [
        [],
        3,
        None,
        {"w": 3},
        {"w": []},
        {"w": {}},
        {"w": {**TENSOR, "dtype": None, "data_offsets": None}},
        {"w": {**TENSOR, "data_offsets": [0]}},
        {"w": {**TENSOR, "data_offsets": {}}},
    ],
)
def test_a_header_of_something_else_is_unknown(tmp_path: Path, header: Any) -> None:
    assert tensor_bytes(folder_of(tmp_path, stored(header))) is None
