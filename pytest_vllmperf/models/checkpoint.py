"""What lies on disk of a checkpoint, without reading its weights."""

from __future__ import annotations

import hashlib
import json
from math import prod
from pathlib import Path

# Bits of each safetensors dtype that is a plain floating-point weight; all others are levels, scales or indices.
_LOADED = {"float64": 64, "float32": 32, "float16": 16, "bfloat16": 16}
_FLOATS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16}

_CONFIGURATIONS = ("config.json", "quantize_config.json")
_WEIGHTS = (".safetensors", ".bin", ".gguf")
_MOST_FILES = 64


def tensor_bytes(model: str, dtype: str | None = None) -> int | None:
    """Bytes of all tensors in a folder's safetensors files; None where there are none, or one cannot be read.

    Args:
        model: the folder.
        dtype: torch's name of what floating-point tensors are loaded as, such as `bfloat16`; None for as stored.
    """
    files = sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
    if not files:
        return None
    try:
        return sum(_file_bytes(path, _LOADED.get(dtype or "")) for path in files)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _file_bytes(path: Path, float_bits: int | None) -> int:
    """A file starts with the length of its header in eight little-endian bytes, then the header as JSON.

    Raises:
        ValueError: for a file that is cut short or something else, such as a pointer to where the weights lie.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("no safetensors file")
        header = json.loads(file.read(length))
    tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
    return sum(_size(tensor["dtype"], tensor["shape"], tensor["data_offsets"], float_bits) for tensor in tensors)


def _size(dtype: str, shape: list[int], offsets: list[int], float_bits: int | None) -> int:
    if float_bits is not None and dtype in _FLOATS:
        return prod(shape) * float_bits // 8
    return offsets[1] - offsets[0]


def model_files(model: str) -> dict[str, str]:
    """The files that `model_digest` is made of, each with what tells it from another; empty for what is no folder.

    Of a checkpoint of very many files the first ones.
    """
    folder = Path(model)
    if not folder.is_dir():
        return {}
    found = {}
    for file in sorted(folder.iterdir()):
        if file.name in _CONFIGURATIONS:
            found[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
        elif file.suffix in _WEIGHTS:
            found[file.name] = f"{file.stat().st_size} bytes"
    return dict(list(found.items())[:_MOST_FILES])


def model_digest(model: str) -> str:
    """What tells one model from another: for a folder its configuration and the sizes of its weight files.

    A hub name stands for itself, fetched or not; see `fingerprint`. Weights are not read: an 8B model would take longer
    to hash than to load.
    """
    folder = Path(model)
    if folder.is_file():  # all of the model in one file, such as a GGUF
        return hashlib.sha256(f"{folder.name} {folder.stat().st_size}".encode()).hexdigest()[:16]
    if not folder.is_dir():
        return model
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.name in _CONFIGURATIONS:
            digest.update(file.read_bytes())
        elif file.suffix in _WEIGHTS:
            digest.update(f"{file.name} {file.stat().st_size}".encode())
    return digest.hexdigest()[:16]
