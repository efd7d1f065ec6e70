"""Whether an engine holds its weights as their configuration says: nobody compares fp16 with fp16 believing it GPTQ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_vllmperf.records.engine import WeightFacts, WeightLayers

# A group's scale and zero point take at most this many bits together, in every format that vLLM loads.
_BITS_PER_GROUP = 40
# Scales of a whole row or column, and padding of tensors to a kernel's tile.
_SLACK = 1.1
_NAMES = {"bitsandbytes": 4, "bitsandbytes-nf4": 4, "awq": 4, "awq_marlin": 4, "modelopt_fp4": 4}
_IGNORING = ("ignore", "ignored_layers", "modules_to_not_convert", "llm_int8_skip_modules", "exclude_modules")
# Settings of single layers: GPTQModel's and AutoRound's. What they come to in the mean is not foreseen here.
_BY_LAYER = ("dynamic", "extra_config")


@dataclass(frozen=True)
class Precision:
    """How many bits a quantized weight has to take.

    Attributes:
        low: of the level itself, in the finest group of layers.
        high: with scales and zero points, in the coarsest.
    """

    low: float
    high: float


def mismatch(facts: WeightFacts) -> str | None:
    """Why the weights are not what was asked for, in one line; None when they are, or when nobody knows.

    The layers that can be quantized are looked at, as they lie in the engine's memory: their class, and their bytes
    over the numbers that they stand for.
    """
    wanted = _wanted(facts)
    if wanted is None or _about_other_tensors(facts):
        return None
    if facts.layers and not any(layer.quantized for layer in facts.layers):
        return f"{wanted} was requested, but {_described(facts.layers)}"
    if not facts.layers:
        return None if facts.resolved else f"{wanted} was requested, but the engine uses no quantization"
    share = quantized_share(facts.layers)
    if share is not None and share < 0.5 and not _leaves_layers_out(facts.declared):
        return f"{wanted} was requested, but only {share:.0%} of the weights are quantized: {_described(facts.layers)}"
    bits, precision = effective_bits(facts.layers), declared_precision(facts)
    if bits is not None and precision is not None and not precision.low <= bits <= precision.high:
        shown = f"{precision.low:g} to {precision.high:.3g}"
        return f"{wanted} means {shown} bits per weight, but the quantized layers hold {bits:.3g}"
    return None


def effective_bits(layers: Sequence[WeightLayers]) -> float | None:
    """Bits that a weight of the quantized layers takes, scales included; None where bytes or sizes are unknown."""
    sizes = [(layer.held_bytes, layer.weights) for layer in layers if layer.quantized]
    if not sizes or any(held is None or not weights for held, weights in sizes):
        return None
    return 8 * sum(held or 0 for held, _ in sizes) / sum(weights or 0 for _, weights in sizes)


def quantized_share(layers: Sequence[WeightLayers]) -> float | None:
    """Which share of these layers' weights is quantized; None where a size is unknown, as of experts."""
    if not layers or any(layer.weights is None for layer in layers):
        return None
    whole = sum(layer.weights or 0 for layer in layers)
    return sum(layer.weights or 0 for layer in layers if layer.quantized) / whole if whole else None


def declared_precision(facts: WeightFacts) -> Precision | None:
    """What the configuration says of bits and groups; the engine argument's name where there is no configuration."""
    if any(facts.declared.get(name) for name in _BY_LAYER):
        return None
    groups = _groups(facts.declared) if facts.declared else [(_bits_of_name(facts.asked or ""), None)]
    known = [(bits, size) for bits, size in groups if bits]
    if not known:
        return None
    sparse = "24" in str(facts.declared.get("checkpoint_format") or facts.declared.get("format"))
    return Precision(
        low=(0.5 if sparse else 0.9) * min(bits for bits, _ in known),
        high=max(bits * _SLACK + (_BITS_PER_GROUP / size if size else 1) for bits, size in known),
    )


def _wanted(facts: WeightFacts) -> str | None:
    """The quantization that was asked for, for a person; None when none was."""
    if facts.declared:
        method = str(facts.declared.get("quant_method") or "a quantization")
        bits = sorted({bits for bits, _ in _groups(facts.declared) if bits})
        return f"{method} of {' and '.join(map(str, bits))} bits" if bits else method
    return facts.asked


def _about_other_tensors(facts: WeightFacts) -> bool:
    """A configuration that quantizes the KV cache alone, or only sparsifies."""
    is_compressed = facts.declared.get("quant_method") == "compressed-tensors"
    return is_compressed and not facts.declared.get("config_groups")


def _leaves_layers_out(declared: Mapping[str, Any]) -> bool:
    """Whether the configuration excepts layers; the output layer, which hardly any format quantizes, does not count."""
    if any(declared.get(name) for name in _BY_LAYER):
        return True
    named = [layer for name in _IGNORING for layer in _listed(declared.get(name))]
    return any("lm_head" not in str(layer) for layer in named)


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value] if value else []


def _groups(declared: Mapping[str, Any]) -> list[tuple[int | None, int | None]]:
    """(bits, group size) of each kind of layer; a size of None for scales of whole rows, columns or blocks."""
    if isinstance(declared.get("config_groups"), Mapping):
        groups = [group for group in declared["config_groups"].values() if isinstance(group, Mapping)]
        schemes = [group["weights"] for group in groups if isinstance(group.get("weights"), Mapping)]
        return [(_positive(scheme.get("num_bits")), _positive(scheme.get("group_size"))) for scheme in schemes]
    if declared.get("load_in_4bit") or declared.get("_load_in_4bit"):
        return [(4, 64)]
    if declared.get("load_in_8bit") or declared.get("_load_in_8bit"):
        return [(8, None)]
    bits = _positive(declared.get("bits")) or _positive(declared.get("w_bit"))
    method = str(declared.get("quant_algo") or declared.get("quant_method") or "")
    return [(bits or _bits_of_name(method), _positive(declared.get("group_size") or declared.get("q_group_size")))]


def _positive(size: object) -> int | None:
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None


def _bits_of_name(name: str) -> int | None:
    """The bits in a name such as `fp8`, `mxfp4`, `experts_int8` or `w4a16`."""
    if name.lower() in _NAMES:
        return _NAMES[name.lower()]
    match = re.search(r"(?:fp|nf|int|w)(\d+)", name.lower())
    return int(match[1]) if match else None


def _described(layers: Sequence[WeightLayers]) -> str:
    """The layers in words: how many run how, and in how many bits."""
    plain = [layer for layer in layers if not layer.quantized]
    count, methods = sum(layer.layers for layer in plain), ", ".join(layer.method for layer in plain)
    held, weights = (
        sum(layer.held_bytes or 0 for layer in plain),
        sum(layer.weights or 0 for layer in plain if layer.held_bytes),
    )
    bits = f", {8 * held / weights:.3g} bits per weight" if weights else ""
    return f"{count} of {sum(layer.layers for layer in layers)} layers run unquantized ({methods}{bits})"
