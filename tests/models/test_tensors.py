"""The streaming writer, read back by the library."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open
from safetensors.numpy import load_file

from pytest_vllmperf.models.tensors import Layout, Part, to_stored, write


def part(name: str, array: np.ndarray, dtype: str = "F32") -> Part:
    return Part({name: Layout(dtype, array.shape)}, lambda: {name: array})


def test_the_library_reads_what_was_written(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "odd": np.arange(3, dtype=np.uint8),
        "half": np.linspace(0, 1, 5).astype(np.float16),
        "whole": np.array([2**40, -1], dtype=np.int64),
        "small": np.array([[-128, 127]], dtype=np.int8),
        "packed": np.array([-(2**31), 7], dtype=np.int32),
    }
    codes = {"a": "F32", "odd": "U8", "half": "F16", "whole": "I64", "small": "I8", "packed": "I32"}
    write(tmp_path, [part(name, array, codes[name]) for name, array in arrays.items()])
    read = load_file(tmp_path / "model.safetensors")
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        assert np.array_equal(read[name], array)
    with safe_open(str(tmp_path / "model.safetensors"), framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_a_large_checkpoint_comes_in_shards_with_an_index(tmp_path: Path) -> None:
    parts = [part(f"t{n}", np.full(100, n, dtype=np.float32)) for n in range(5)]
    write(tmp_path, parts, shard_bytes=900)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 2000
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert files == [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    for name, file in index["weight_map"].items():
        assert np.all(load_file(tmp_path / file)[name] == int(name[1:]))


def test_tensors_are_made_one_after_the_other(tmp_path: Path) -> None:
    book: list[str] = []

    def make(name: str) -> dict[str, np.ndarray]:
        size = (tmp_path / "model.safetensors").stat().st_size
        book.append(f"{name} at {size > 0}")
        return {name: np.zeros(100_000, dtype=np.float32)}

    write(tmp_path, [Part({name: Layout("F32", (100_000,))}, lambda name=name: make(name)) for name in "ab"])
    assert book == ["a at False", "b at True"], "the first is in the file before the second is made"


def test_a_tensor_that_is_not_what_was_told_is_never_written(tmp_path: Path) -> None:
    for layout in (Layout("F32", (4,)), Layout("F16", (3,))):
        with pytest.raises(AssertionError, match="x: float32"):
            write(tmp_path, [Part({"x": layout}, lambda: {"x": np.zeros(3, dtype=np.float32)})])


@given(hnp.arrays(np.float32, 20, elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_bfloat16_is_the_nearest_with_ties_to_even(values: np.ndarray) -> None:
    stored = to_stored(values, "BF16")
    read = (stored.astype(np.uint32) << 16).view(np.float32)
    low = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
    high = ((values.view(np.uint32) & 0xFFFF0000) + 0x10000).view(np.float32)
    nearest = np.minimum(np.abs(values - low), np.abs(values - high))
    assert np.array_equal(np.abs(values - read), nearest)
    assert to_stored(np.array([1.00390625, 1.01171875], dtype=np.float32), "BF16").tolist() == [0x3F80, 0x3F82]
