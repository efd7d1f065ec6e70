"""Calibrated quantization by llm-compressor, in an environment of its own, and what vLLM makes of it here."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_vllmperf import models
from pytest_vllmperf.comparing.quality import compare_quality
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.errors import EngineUnsupportedError
from pytest_vllmperf.records.quality import Quality
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.validity.quantization import mismatch
from pytest_vllmperf.workload import Request

from .conftest import MODEL, quiet

PYTHON = os.environ.get("VLLMPERF_QUANTIZE_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="VLLMPERF_QUANTIZE_PYTHON names no interpreter with llm-compressor")
SAMPLES = 32


def chats(seed: int, count: int) -> list[list[dict[str, str]]]:
    """A narrow workload, as calibration wants it: one question about many texts."""
    draw = random.Random(seed)
    words = ["good", "bad", "what", "a", "day", "the", "service", "slow", "fine", "never", "love", "it", "broken"]
    asked = ["Positive or negative: " + " ".join(draw.choices(words, k=40)) for _ in range(count)]
    return [[{"role": "user", "content": text}] for text in asked]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("calibrated")
    lines = [json.dumps({"messages": chat}) for chat in chats(1, SAMPLES)]
    (made / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    return made


def quantize(folder: Path, scheme: str, samples: int) -> subprocess.CompletedProcess[str]:
    """One thread: with two, llm-compressor's small matrices cost ten times as much beside a busy neighbour."""
    program = "import sys; from pytest_vllmperf.cli import main; sys.exit(main())"
    arguments = ["quantize", models.resolve(MODEL), "--scheme", scheme, "--calibration", "prompts.jsonl"]
    return subprocess.run(
        [PYTHON, "-c", program, *arguments, "--samples", str(samples), "--output", scheme],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def quality(launcher: Launcher, start: Callable[..., Engine], model: str) -> Quality:
    """How the model sees what the original says to prompts that calibration has not seen; in vLLM where it can."""
    requests = [Request(index, 32, messages=tuple(chat)) for index, chat in enumerate(chats(2, 6))]
    original = launcher.start(EngineSpec.create(MODEL, backend="transformers", dtype="float32"), {}, quiet)
    made = original.generate(requests)
    sequences = [[*prompt, *output] for prompt, output in zip(made.prompts, made.outputs, strict=True)]
    engine = start(model=model, dtype="float16")  # loads in vLLM on any processor
    assert engine.facts.weights is not None
    assert mismatch(engine.facts.weights) is None
    assert all(layer.quantized for layer in engine.facts.weights.layers)
    try:
        scores = engine.score(sequences)
    except EngineUnsupportedError:  # no kernel for four bits on this processor: transformers unpacks them
        engine = launcher.start(EngineSpec.create(model, backend="transformers", dtype="float32"), {}, quiet)
        scores = engine.score(sequences)
    found = compare_quality(engine.generate(requests).outputs, made.outputs, scores, original.score(sequences))
    for one in (engine, original):
        one.close()
    return found


def test_calibrated_weights_stay_closer_to_the_original_than_rounded_ones(
    launcher: Launcher, start: Callable[..., Engine], folder: Path
) -> None:
    done = quantize(folder, "gptq", SAMPLES)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "gptq"
    assert json.loads((folder / "gptq" / "config.json").read_text())["quantization_config"]["quant_method"]
    calibrated = quality(launcher, start, str(folder / "gptq"))
    rounded = quality(launcher, start, "vllmperf:tiny-w4a16")
    assert calibrated.logprob_difference < 0.5 * rounded.logprob_difference
    assert calibrated.top1_agreement > rounded.top1_agreement


def test_what_awq_makes_loads_in_vllm(start: Callable[..., Engine], folder: Path) -> None:
    """On random weights its scaling buys no accuracy; that is for models that were trained."""
    done = quantize(folder, "awq", 8)
    assert done.returncode == 0, done.stderr
    engine = start(model=str(folder / "awq"), dtype="float16")
    assert engine.facts.weights is not None
    assert mismatch(engine.facts.weights) is None
    assert all(layer.quantized for layer in engine.facts.weights.layers)
    engine.close()
    assert {path.name for path in folder.iterdir() if not path.name.endswith(".lock")} >= {"awq", "prompts.jsonl"}
    assert not list(folder.glob(".awq.*"))
