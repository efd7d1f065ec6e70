"""Quantize a model with llm-compressor, calibrated on the prompts that it will serve."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from filelock import FileLock

from pytest_vllmperf.calibration.prompts import CalibrationPrompt, read_prompts
from pytest_vllmperf.errors import ModelError
from pytest_vllmperf.models import folders
from pytest_vllmperf.models.checkpoint import model_digest

SCHEMES = ("awq", "gptq")
RECORD = "vllmperf_quantize.json"
_BITS = 4


@dataclass(frozen=True)
class QuantizeSettings:
    """What is asked for.

    Attributes:
        scheme: `awq` (activation-aware scaling, with zero points) or `gptq` (second-order rounding, symmetric).
        samples: calibration prompts used, from the start of the file.
        group_size: weights that share a scale.
        max_length: longest prompt in tokens; what is longer is cut.
    """

    scheme: str
    samples: int = 128
    group_size: int = 128
    max_length: int = 2048

    def check(self) -> None:
        """Refuse settings that are not valid.

        Raises:
            ModelError: for a scheme that does not exist, or a number below 1.
        """
        if self.scheme not in SCHEMES:
            raise ModelError(f"--scheme {self.scheme!r} does not exist; choose one of {', '.join(SCHEMES)}")
        for name in ("samples", "group_size", "max_length"):
            if getattr(self, name) < 1:
                raise ModelError(f"--{name.replace('_', '-')} {getattr(self, name)} must be at least 1")


def quantize(model: str, output: Path, calibration: Path, settings: QuantizeSettings) -> Path:
    """Quantize a model's linear layers to four bits, or leave the finished one that lies there.

    The checkpoint is in compressed-tensors' format, which vLLM loads. It is written beside and renamed, so that a
    folder of this name is always whole.

    Args:
        model: path or hub name.
        output: folder to write.
        calibration: JSON lines; see `calibration.prompts`.
        settings: how.

    Returns:
        `output`.

    Raises:
        ModelError: for invalid settings, prompts or model, where llm-compressor is not installed, for
            a folder that holds something else, or when it cannot be written.
    """
    settings.check()
    prompts = read_prompts(calibration, settings.samples)
    record = {"model": _model_digest(model), **asdict(settings), "prompts": _digest(prompts)}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{output}.lock"):
            if output.exists():
                return _finished(output, record)
            _need_llm_compressor()
            return _quantize_beside(model, output, prompts, settings, record)
    except OSError as error:
        raise ModelError(f"{output}: the model could not be written: {error.strerror or error}") from None


def _model_digest(model: str) -> str:
    try:
        return model_digest(model)
    except OSError as error:
        raise ModelError(f"{model} could not be read: {error.filename}: {error.strerror}") from None


def _digest(prompts: Sequence[CalibrationPrompt]) -> str:
    digest = hashlib.sha256()
    for prompt in prompts:
        content = prompt.text if prompt.messages is None else prompt.messages
        digest.update(json.dumps(content, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()[:16]


def _finished(output: Path, record: dict[str, Any]) -> Path:
    """The folder, where it is what would be made.

    Raises:
        ModelError: when it is no finished model, or one that was made otherwise.
    """
    try:
        found = json.loads((output / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ModelError(
            f"{output} exists and is not a finished result of this command; choose another folder with --output"
        )
    differing = [name for name in record if found.get(name) != record[name]]
    if differing:
        raise ModelError(
            f"{output} holds a model with another {', '.join(differing)}; remove it, or choose another folder "
            f"with --output"
        )
    return output


def _need_llm_compressor() -> None:
    missing = [name for name in ("llmcompressor", "transformers", "datasets") if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"{missing[0]} is not installed in this environment. Its pinned versions conflict with vLLM's, so "
            f"use a separate environment: pip install 'pytest-vllmperf[quantize]'"
        )


def _quantize_beside(
    model: str, output: Path, prompts: Sequence[CalibrationPrompt], settings: QuantizeSettings, record: dict[str, Any]
) -> Path:
    with folders.whole(output) as made:
        _run(model, made, prompts, settings)
        (made / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for file in made.iterdir():
            file.chmod(0o644)  # safetensors writes for the owner alone
    return output


def _run(model: str, folder: Path, prompts: Sequence[CalibrationPrompt], settings: QuantizeSettings) -> None:
    """Load, calibrate, save; llm-compressor shows its own progress bars.

    Raises:
        ModelError: with the library's own reason in one line.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    tokenizer, loaded = _load(model)
    try:
        if str(loaded.dtype) == "torch.float32":
            loaded = loaded.half()  # what the four-bit kernels compute in
        rows = [_tokens(prompt, tokenizer, settings.max_length) for prompt in prompts]
        with _without_pinned_memory():
            _oneshot(loaded, rows, settings)
        loaded.save_pretrained(folder, save_compressed=True)
        tokenizer.save_pretrained(folder)
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk; libraries raise others
            raise
        raise ModelError(f"llm-compressor could not quantize {model}: {_first_line(error)}") from error


def _load(model: str) -> tuple[Any, Any]:
    """Tokenizer and model; what they raise tells of the model, also where it is an error of the disk."""
    try:
        transformers: Any = importlib.import_module("transformers")
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype="auto", trust_remote_code=False)
        return tokenizer, loaded
    except Exception as error:
        raise ModelError(f"{model} could not be loaded: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _tokens(prompt: CalibrationPrompt, tokenizer: Any, max_length: int) -> dict[str, list[int]]:
    """A prompt as the engine will see it: a chat through the template, the turn opened unless the model has spoken."""
    if prompt.messages is None:
        ids = list(tokenizer.encode(prompt.text))
    else:
        opened = prompt.messages[-1].get("role") != "assistant"
        ids = tokenizer.apply_chat_template(
            [dict(message) for message in prompt.messages],
            tokenize=True,
            add_generation_prompt=opened,
            return_dict=False,
        )
    ids = list(ids)[:max_length]
    return {"input_ids": ids, "attention_mask": [1] * len(ids)}


def _oneshot(model: Any, rows: Sequence[dict[str, list[int]]], settings: QuantizeSettings) -> None:
    llmcompressor: Any = importlib.import_module("llmcompressor")
    datasets: Any = importlib.import_module("datasets")
    llmcompressor.oneshot(
        model=model,
        dataset=datasets.Dataset.from_list(list(rows)),
        recipe=_recipe(settings),
        num_calibration_samples=len(rows),
        max_seq_length=settings.max_length,
        shuffle_calibration_samples=False,
        log_dir=None,
    )


def _recipe(settings: QuantizeSettings) -> list[Any]:
    weights = {
        "num_bits": _BITS,
        "type": "int",
        "symmetric": settings.scheme == "gptq",
        "strategy": "group",
        "group_size": settings.group_size,
    }
    layers = {"config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}, "ignore": ["lm_head"]}
    if settings.scheme == "gptq":
        return [importlib.import_module("llmcompressor.modifiers.gptq").GPTQModifier(**layers)]
    awq: Any = importlib.import_module("llmcompressor.modifiers.transform.awq")
    plain: Any = importlib.import_module("llmcompressor.modifiers.quantization")
    return [awq.AWQModifier(), plain.QuantizationModifier(**layers)]


@contextmanager
def _without_pinned_memory() -> Iterator[None]:
    """AWQ's activation cache pins memory for copies to a GPU; without one, torch refuses to."""
    torch: Any = importlib.import_module("torch")
    cache: Any = importlib.import_module("llmcompressor.pipelines.cache")
    if torch.cuda.is_available() or not hasattr(cache.IntermediatesCache, "pin_memory"):
        yield
        return
    with mock.patch.object(cache.IntermediatesCache, "pin_memory"):
        yield
