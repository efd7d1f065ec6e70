"""Models that the package makes itself: real checkpoints with random weights, no network.

The tiny Llama is what the demo, the tests and the documentation run on. A model is the same to the byte on every
machine: weights come from numpy's PCG64 generator, the tokenizer is trained on text made here.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from pytest_vllmperf.errors import ModelError
from pytest_vllmperf.models import folders, tokenizer
from pytest_vllmperf.models.quantization import QUANTIZATIONS, Quantization
from pytest_vllmperf.models.shapes import SHAPES, Shape, config, is_linear, tensor_shapes
from pytest_vllmperf.models.tensors import Array, Layout, Part, to_stored, write

PREFIX = "vllmperf:"
WAIT_S = 1800.0
"""Seconds to wait for another run that makes the same model; the largest takes minutes."""

Progress = Callable[[str, float], None]
"""Called now and then: what is going on, and for how many seconds."""

_POLL_S = 1.0
_REVISION = 2  # in the folder's name: a changed recipe must not meet an old cache
_STORED = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_QUANTIZED_DTYPE = "float16"  # what every format's kernels take; AWQ's take nothing else


def names() -> list[str]:
    """The built-in models: every shape, as it is and in every quantization."""
    return [PREFIX + shape + suffix for shape in SHAPES for suffix in ("", *(f"-{name}" for name in QUANTIZATIONS))]


def _quiet(doing: str, waited: float) -> None:
    """Nobody is watching."""


def resolve(model: str, progress: Progress = _quiet) -> str:
    """The path of a built-in model (`vllmperf:tiny`, `vllmperf:tiny-awq`), made on first use; `~` is expanded.

    Args:
        model: a path, a hub name, or a built-in name.
        progress: called while a model is made or waited for.

    Raises:
        ModelError: for a built-in name that does not exist, or when it cannot be made.
    """
    if not model.startswith(PREFIX):
        return os.path.expanduser(model)  # noqa: PTH111 - a hub name stays as it is, as does `./name`
    name = model.removeprefix(PREFIX)
    if model not in names():
        raise ModelError(f"no built-in model has the name {name!r}; choose one of {', '.join(names())}")
    base, _, last = name.rpartition("-")
    shape, quantization = (base, last) if last in QUANTIZATIONS else (name, "none")
    return str(make_model(cache_folder() / f"{name}-{_REVISION}", SHAPES[shape], quantization, progress))


def cache_folder() -> Path:
    """Where built-in models are kept: $VLLMPERF_CACHE, or pytest-vllmperf in the user's cache folder.

    Raises:
        ModelError: when no variable names a folder and the user has no home.
    """
    chosen = os.environ.get("VLLMPERF_CACHE")
    if chosen:
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytest-vllmperf"
    except RuntimeError:  # HOME is not set, and there is no entry in passwd, as in a container with a foreign uid
        raise ModelError(
            "this user has no home folder to store models in; set VLLMPERF_CACHE to a folder, or set HOME"
        ) from None


def make_model(
    folder: Path, shape: Shape | None = None, quantization: str = "none", progress: Progress = _quiet
) -> Path:
    """Make a checkpoint, or leave the finished one that lies there.

    It is written beside and renamed, so that a folder of this name is always whole and needs no lock to be read; two
    runs that want it at once make it once. One tensor is held in memory at a time.

    Args:
        folder: where to.
        shape: its dimensions; the tiny one unless given.
        quantization: `none`, or a name of `QUANTIZATIONS`.
        progress: called while it is made or waited for.

    Raises:
        ModelError: for a quantization that does not exist or does not fit the shape, when tokenizers is not
            installed, the folder holds something else, it cannot be written, or another run makes it for too long.
    """
    shape = shape or Shape()
    parts = _parts(shape, quantization)
    try:
        if folder.exists():
            return _finished(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder, progress):
            if folder.exists():
                return _finished(folder)
            progress(f"making the model {folder.name}", 0.0)
            return _make_beside(folder, shape, quantization, parts)
    except OSError as error:
        raise ModelError(f"{folder}: the model could not be written: {error.strerror or error}") from None


@contextmanager
def _lock(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of a folder that is to be made.

    Raises:
        ModelError: when another run has held it for `WAIT_S`.
        OSError: when the lock file cannot be made.
    """
    lock, started = FileLock(f"{folder}.lock"), time.monotonic()
    while True:
        try:
            lock.acquire(timeout=_POLL_S, poll_interval=0.05)
            break
        except Timeout:
            waited = time.monotonic() - started
        if waited >= WAIT_S:
            raise ModelError(f"{folder}: another run has locked it ({folder}.lock) for {WAIT_S:g} s; end that run")
        progress(f"waiting for another run that is making the model {folder.name}", waited)
    try:
        yield
    finally:
        lock.release()


def _finished(folder: Path) -> Path:
    weights = "model.safetensors"
    if (folder / "model.safetensors.index.json").exists():
        weights = "model.safetensors.index.json"
    missing = [name for name in ("config.json", weights, "tokenizer.json") if not (folder / name).exists()]
    if missing:
        raise ModelError(
            f"{folder} exists but is not a complete model ({', '.join(missing)} missing); choose another folder"
        )
    return folder


def _make_beside(folder: Path, shape: Shape, quantization: str, parts: list[Part]) -> Path:
    try:
        with folders.whole(folder) as made:
            (made / "tokenizer.json").write_text(tokenizer.train(shape.vocab_size, shape.seed), encoding="utf-8")
            write_json(made / "tokenizer_config.json", tokenizer.settings(shape.max_model_len))
            write(made, parts)
            write_json(made / "config.json", _config(shape, quantization))
            write_json(made / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 1})
    except ImportError as error:
        raise ModelError(f"{error.name} is needed to make a model: pip install 'pytest-vllmperf[models]'") from None
    return folder


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of a checkpoint, with its keys in order."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _config(shape: Shape, quantization: str) -> dict[str, Any]:
    if quantization == "none":
        return config(shape, shape.dtype)
    return {**config(shape, _QUANTIZED_DTYPE), "quantization_config": QUANTIZATIONS[quantization].config}


def _parts(shape: Shape, quantization: str) -> list[Part]:
    """The checkpoint's tensors in order, each part with what makes it."""
    if quantization not in ("none", *QUANTIZATIONS):
        raise ModelError(
            f"no quantization has the name {quantization!r}; choose one of none, {', '.join(QUANTIZATIONS)}"
        )
    chosen = QUANTIZATIONS.get(quantization)
    dtype = _STORED[_QUANTIZED_DTYPE if chosen else shape.dtype]
    parts = []
    for number, (name, size) in enumerate(tensor_shapes(shape).items()):
        draw = partial(_draw, shape.seed, number, size)
        if chosen is not None and is_linear(name):
            parts.append(_quantized(name, size, draw, chosen, quantization))
        else:
            parts.append(Part({name: Layout(dtype, size)}, partial(_plain, name, dtype, draw)))
    return parts


def _plain(name: str, dtype: str, draw: partial[Array]) -> dict[str, Array]:
    return {name: to_stored(draw(), dtype)}


def _quantized(name: str, size: tuple[int, ...], draw: partial[Array], chosen: Quantization, word: str) -> Part:
    outputs, inputs = size
    if outputs % chosen.multiples[0] or inputs % chosen.multiples[1]:
        raise ModelError(
            f"{word} needs layers whose numbers of outputs and inputs are multiples of {chosen.multiples[0]} "
            f"and {chosen.multiples[1]}; {name} has {outputs} and {inputs}"
        )
    layer = name.removesuffix("weight")
    layouts = {layer + own: layout for own, layout in chosen.layouts(outputs, inputs).items()}
    return Part(layouts, lambda: {layer + own: tensor for own, tensor in chosen.pack(draw()).items()})


def _draw(seed: int, number: int, size: tuple[int, ...]) -> Array:
    """Norms of one, all else normal with standard deviation 0.02, as Llama is initialised."""
    if len(size) == 1:
        return np.ones(size, dtype=np.float32)
    generator = np.random.Generator(np.random.PCG64([seed, number]))
    drawn = generator.standard_normal(size, dtype=np.float32)
    drawn *= np.float32(0.02)
    return drawn
