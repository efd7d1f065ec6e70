"""LoRA adapters: made with random weights, and what tells one from another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from pytest_vllmperf.errors import ModelError
from pytest_vllmperf.models import folders
from pytest_vllmperf.models.make import write_json
from pytest_vllmperf.models.shapes import Shape, is_linear, tensor_shapes
from pytest_vllmperf.models.tensors import Array, Layout, Part, write_file

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
_SCALE: Final = 0.05
"""Standard deviation of weights: large enough to change what a model of random weights says."""
_CHUNK: Final = 1 << 20


def make_adapter(folder: Path, shape: Shape | None = None, rank: int = 8, seed: int = 1) -> Path:
    """Make a LoRA adapter with random weights for a model of `make_model`, in the layout of PEFT.

    Args:
        folder: where to; it must not exist.
        shape: dimensions of the model; the tiny one unless given.
        rank: of the adapter.
        seed: of its weights.

    Raises:
        ModelError: when the folder exists, or cannot be written.
    """
    shape = shape or Shape()
    if folder.exists():
        raise ModelError(f"{folder} exists; choose another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folders.whole(folder) as made:
            write_file(made / WEIGHTS, list(_parts(shape, rank, seed)))
            config = {
                "base_model_name_or_path": None,
                "bias": "none",
                "lora_alpha": 2 * rank,
                "lora_dropout": 0.0,
                "peft_type": "LORA",
                "r": rank,
                "target_modules": sorted({name.split(".")[-2] for name in tensor_shapes(shape) if is_linear(name)}),
                "task_type": "CAUSAL_LM",
            }
            write_json(made / CONFIG, config)
    except OSError as error:
        raise ModelError(f"{folder}: the adapter could not be written: {error.strerror or error}") from None
    return folder


def _parts(shape: Shape, rank: int, seed: int) -> Iterator[Part]:
    linear = {name: size for name, size in tensor_shapes(shape).items() if is_linear(name)}
    for number, (name, (outputs, inputs)) in enumerate((name, (size[0], size[1])) for name, size in linear.items()):
        for half, size in (("A", (rank, inputs)), ("B", (outputs, rank))):
            tensor = f"base_model.model.{name.removesuffix('weight')}lora_{half}.weight"
            draw = partial(_draw, tensor, size, (seed, number, ord(half)))
            yield Part({tensor: Layout("F32", size)}, draw)


def _draw(tensor: str, size: tuple[int, ...], seed: tuple[int, ...]) -> dict[str, Array]:
    generator = np.random.Generator(np.random.PCG64(list(seed)))
    return {tensor: generator.standard_normal(size, dtype=np.float32) * np.float32(_SCALE)}


def adapter_digest(path: str) -> str | None:
    """What tells one adapter from another: all that its files hold; they are small.

    Args:
        path: a folder, or a hub name, which stands for itself.

    Returns:
        Sixteen hexadecimal digits; None for what is no folder here.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file() and (file.name == CONFIG or file.suffix in (".safetensors", ".bin", ".pt")):
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as content:
                while chunk := content.read(_CHUNK):
                    digest.update(chunk)
    return digest.hexdigest()[:16]
