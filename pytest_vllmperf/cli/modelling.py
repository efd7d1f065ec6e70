"""The arguments of `vllmperf make-model` and `vllmperf quantize`; what they need is imported when they run."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_vllmperf.errors import ModelError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `make-model` and `quantize`."""
    make = commands.add_parser("make-model", help="make a model with random weights, without a network")
    make.add_argument("folder", nargs="?", type=Path, help="output folder; by default in the user's cache folder")
    make.add_argument("--shape", default="tiny", help="dimensions: tiny, qwen3-0.6b or llama-8b (default: tiny)")
    make.add_argument(
        "--quantization",
        default="none",
        help="quantization, in its real file layout: none, awq, gptq, w4a16, int8, fp8 or nf4 (default: none)",
    )
    make.set_defaults(run=_make_model)
    _add_quantize(commands)


def _add_quantize(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    quantize = commands.add_parser(
        "quantize",
        help="quantize a model to four bits, calibrated on your own prompts",
        description="Runs llm-compressor. Install it in a separate environment: pip install "
        "'pytest-vllmperf[quantize]'. Load the result with vLLM in your usual environment.",
    )
    quantize.add_argument("model", help="path or hub name, or a built-in model such as vllmperf:tiny")
    quantize.add_argument("--scheme", required=True, help="awq or gptq")
    quantize.add_argument("--calibration", required=True, type=Path, metavar="FILE.jsonl",
                          help='JSON lines, each {"messages": [...]} or {"prompt": "..."}')  # fmt: skip
    quantize.add_argument(
        "--samples", type=int, default=128, metavar="N", help="number of calibration prompts to use (default: 128)"
    )
    quantize.add_argument(
        "--group-size", type=int, default=128, metavar="N", help="number of weights that share a scale (default: 128)"
    )
    quantize.add_argument(
        "--max-length", type=int, default=2048, metavar="N", help="maximum prompt length in tokens (default: 2048)"
    )
    quantize.add_argument("--output", type=Path, metavar="FOLDER", help="output folder (default: ./NAME-SCHEME)")
    quantize.set_defaults(run=_quantize)


def _make_model(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf import models

    if chosen.folder is None:
        suffix = "" if chosen.quantization == "none" else f"-{chosen.quantization}"
        print(models.resolve(models.PREFIX + chosen.shape + suffix))
        return 0
    if chosen.shape not in models.SHAPES:
        raise ModelError(f"no shape has the name {chosen.shape!r}; choose one of {', '.join(models.SHAPES)}")
    print(models.make_model(chosen.folder, models.SHAPES[chosen.shape], chosen.quantization))
    return 0


def _quantize(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf import models
    from pytest_vllmperf.calibration.quantize import QuantizeSettings, quantize

    settings = QuantizeSettings(chosen.scheme, chosen.samples, chosen.group_size, chosen.max_length)
    settings.check()
    name = chosen.model.rstrip("/").rsplit("/", 1)[-1].removeprefix(models.PREFIX)
    output = chosen.output or Path(f"{name}-{chosen.scheme}")
    print(quantize(models.resolve(chosen.model), output, chosen.calibration, settings))
    return 0
