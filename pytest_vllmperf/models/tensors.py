"""Tensors as safetensors stores them, for types that numpy lacks too, and a writer that holds one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARD_BYTES = 2**31
_STORED = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "F8_E4M3": np.uint8, "I64": np.int64,
           "I32": np.int32, "I8": np.int8, "U8": np.uint8}  # fmt: skip

Array = NDArray[Any]


@dataclass(frozen=True)
class Layout:
    """What a stored tensor looks like.

    Attributes:
        dtype: safetensors' word for its type; BF16 and F8_E4M3 are held as unsigned integers of their bits.
        shape: its dimensions.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Its size in the file."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(_STORED[self.dtype]).itemsize


Make = Callable[[], Mapping[str, Array]]
"""Makes some tensors by name, in the order of their layouts."""


@dataclass(frozen=True)
class Part:
    """Tensors that are made together, such as a layer's packed weight and its scales."""

    layouts: Mapping[str, Layout]
    make: Make


def write(folder: Path, parts: Sequence[Part], shard_bytes: int = SHARD_BYTES) -> None:
    """Write a checkpoint: one `model.safetensors`, or shards with an index where it is larger than one.

    The library writes what numpy has and what fits into memory; its format is a header of names, types and places,
    and then the bytes, so that tensors can be made one after the other.

    Raises:
        OSError: when a file cannot be written.
    """
    shards = _shards(parts, shard_bytes)
    index: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = "model.safetensors"
        if len(shards) > 1:
            name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_file(folder / name, shard)
        index |= {tensor: name for part in shard for tensor in part.layouts}
    if len(shards) > 1:
        total = sum(layout.nbytes for part in parts for layout in part.layouts.values())
        content = {"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _shards(parts: Sequence[Part], shard_bytes: int) -> list[list[Part]]:
    shards: list[list[Part]] = [[]]
    used = 0
    for part in parts:
        size = sum(layout.nbytes for layout in part.layouts.values())
        if shards[-1] and used + size > shard_bytes:
            shards.append([])
            used = 0
        shards[-1].append(part)
        used += size
    return shards


def write_file(path: Path, parts: Sequence[Part]) -> None:
    """Write one safetensors file.

    Raises:
        OSError: when it cannot be written.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for part in parts:
        for name, layout in part.layouts.items():
            end = place + layout.nbytes
            header[name] = {"dtype": layout.dtype, "shape": list(layout.shape), "data_offsets": [place, end]}
            place = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format asks for data on a multiple of eight
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for part in parts:
            made = part.make()
            for name, layout in part.layouts.items():
                file.write(_bytes(name, made[name], layout))


def _bytes(name: str, array: Array, layout: Layout) -> memoryview:
    if array.shape != layout.shape or array.dtype != _STORED[layout.dtype]:
        raise AssertionError(f"{name}: {array.dtype} {array.shape} was made, but {layout} was declared")
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def to_stored(values: Array, dtype: str) -> Array:
    """Floats as they are stored in `F32`, `F16` or `BF16`; rounded to nearest, ties to even."""
    if dtype != "BF16":
        return values.astype(_STORED[dtype])
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
