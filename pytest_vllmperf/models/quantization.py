"""Round-to-nearest quantization of random weights, in the layout that each format really has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_vllmperf.models.tensors import Array, Layout

Weights = NDArray[np.float32]
"""Shape (output features, input features)."""

GROUP: Final = 128
NF4_BLOCK: Final = 64
FP8_BLOCK: Final = 128
_NIBBLES: Final = 8
_AWQ_ORDER: Final = (0, 2, 4, 6, 1, 3, 5, 7)
# The 16 levels of a normal distribution with equal shares of it: Dettmers et al., "QLoRA", 2023, appendix E.
NF4_LEVELS: Final = np.array(
    [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
     -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
     0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0], dtype=np.float32)  # fmt: skip


@dataclass(frozen=True)
class Quantization:
    """One format.

    Attributes:
        config: what `config.json` says under `quantization_config`.
        layouts: names behind the layer's, and layouts, of a weight of (output, input) features.
        pack: the same names, and the tensors themselves.
        multiples: what output and input features have to be multiples of.
    """

    config: Mapping[str, Any]
    layouts: Callable[[int, int], dict[str, Layout]]
    pack: Callable[[Weights], dict[str, Array]]
    multiples: tuple[int, int]


# --- rounding ----------------------------------------------------------------------------------------------


def affine(weights: Weights) -> tuple[Array, Array, Array]:
    """Unsigned 4-bit levels with a zero point per group of inputs: q = round(w / scale) + zero, in 0 .. 15.

    Returns:
        Levels (output, input) and zero points (output, groups) as uint8, scales (output, groups) as float16.
    """
    groups = weights.reshape(len(weights), -1, GROUP)
    low, high = np.minimum(groups.min(axis=2), 0), np.maximum(groups.max(axis=2), 0)
    scales = _nonzero((high - low) / 15)
    wide = scales.astype(np.float32)
    zeros = np.clip(np.rint(-low / wide), 0, 15)
    levels = np.clip(np.rint(groups / wide[:, :, None]) + zeros[:, :, None], 0, 15)
    return levels.reshape(weights.shape).astype(np.uint8), zeros.astype(np.uint8), scales


def symmetric(weights: Weights) -> tuple[Array, Array]:
    """Unsigned 4-bit levels around 8, per group of inputs: q = round(w / scale) + 8, in 0 .. 15.

    Returns:
        Levels (output, input) as uint8, scales (output, groups) as float16.
    """
    groups = weights.reshape(len(weights), -1, GROUP)
    scales = _nonzero(np.abs(groups).max(axis=2) / 7)
    levels = np.clip(np.rint(groups / scales.astype(np.float32)[:, :, None]) + 8, 0, 15)
    return levels.reshape(weights.shape).astype(np.uint8), scales


def _nonzero(scales: Array) -> NDArray[np.float16]:
    return np.maximum(scales, np.finfo(np.float16).tiny).astype(np.float16)


def e4m3_levels() -> NDArray[np.float32]:
    """The value of every code 0 .. 126 of fp8 E4M3 without infinities (OCP 8-bit floating point, 2023); 127 is NaN."""
    codes = np.arange(127)
    exponent, mantissa = codes >> 3, codes & 7
    normal = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    return np.where(exponent == 0, mantissa / 8 * 2.0**-6, normal).astype(np.float32)


def to_e4m3(values: Weights) -> NDArray[np.uint8]:
    """Codes of the nearest values, ties to the even code, beyond the range its end.

    Looked up by the upper half of each float32, whose last bit also tells whether anything was cut off below it: that
    is enough to round to three bits of mantissa, and four times as fast as a search among the levels.
    """
    bits = np.ascontiguousarray(values).view(np.uint32)
    upper = (bits >> 16).astype(np.uint16)
    upper |= bits.view(np.uint16).reshape(*bits.shape, 2)[..., 0] != 0
    return np.take(_e4m3_table(), upper)


@lru_cache(maxsize=1)
def _e4m3_table() -> NDArray[np.uint8]:
    """The code of every upper half of a float32; an odd one stands for all that lies between its neighbours."""
    levels = e4m3_levels()
    middles = (levels[:-1] + levels[1:]) / 2
    halves = np.arange(1 << 15, dtype=np.uint32) << 16
    size = halves.view(np.float32)
    below, above = np.searchsorted(middles, size, "left"), np.searchsorted(middles, size, "right")
    positive = np.where(below % 2 == 0, below, above)
    positive = np.minimum(positive, len(levels) - 1).astype(np.uint8)
    return np.concatenate([positive, positive | np.uint8(0x80)])


# --- packing -----------------------------------------------------------------------------------------------


def pack_nibbles(levels: Array, axis: int, order: tuple[int, ...] = tuple(range(_NIBBLES))) -> NDArray[np.int32]:
    """Eight 4-bit levels along an axis into one int32; nibble i, from the lowest, holds element `order[i]`."""
    moved = np.moveaxis(levels, axis, -1)
    eights = moved.reshape(*moved.shape[:-1], -1, _NIBBLES).astype(np.uint32)
    packed = np.zeros(eights.shape[:-1], dtype=np.uint32)
    for nibble, element in enumerate(order):
        packed |= eights[..., element] << np.uint32(4 * nibble)
    return np.ascontiguousarray(np.moveaxis(packed, -1, axis)).view(np.int32)


def _awq(weights: Weights) -> dict[str, Array]:
    levels, zeros, scales = affine(weights)
    return {
        "qweight": pack_nibbles(levels.T, 1, _AWQ_ORDER),
        "qzeros": pack_nibbles(zeros.T, 1, _AWQ_ORDER),
        "scales": np.ascontiguousarray(scales.T),
    }


def _awq_layouts(outputs: int, inputs: int) -> dict[str, Layout]:
    return {
        "qweight": Layout("I32", (inputs, outputs // _NIBBLES)),
        "qzeros": Layout("I32", (inputs // GROUP, outputs // _NIBBLES)),
        "scales": Layout("F16", (inputs // GROUP, outputs)),
    }


def _gptq(weights: Weights) -> dict[str, Array]:
    levels, scales = symmetric(weights)
    zeros = np.full((scales.shape[1], len(weights)), 7, dtype=np.uint8)  # version 1 stores the zero point less one
    return {
        "qweight": pack_nibbles(levels.T, 0),
        "qzeros": pack_nibbles(zeros, 1),
        "scales": np.ascontiguousarray(scales.T),
        "g_idx": (np.arange(weights.shape[1]) // GROUP).astype(np.int32),
    }


def _gptq_layouts(outputs: int, inputs: int) -> dict[str, Layout]:
    return {
        "qweight": Layout("I32", (inputs // _NIBBLES, outputs)),
        "qzeros": Layout("I32", (inputs // GROUP, outputs // _NIBBLES)),
        "scales": Layout("F16", (inputs // GROUP, outputs)),
        "g_idx": Layout("I32", (inputs,)),
    }


def _w4a16(weights: Weights) -> dict[str, Array]:
    levels, scales = symmetric(weights)
    return {
        "weight_packed": pack_nibbles(levels, 1),
        "weight_scale": scales,
        "weight_shape": np.array(weights.shape, dtype=np.int64),
    }


def _w4a16_layouts(outputs: int, inputs: int) -> dict[str, Layout]:
    return {
        "weight_packed": Layout("I32", (outputs, inputs // _NIBBLES)),
        "weight_scale": Layout("F16", (outputs, inputs // GROUP)),
        "weight_shape": Layout("I64", (2,)),
    }


def _int8(weights: Weights) -> dict[str, Array]:
    scales = np.maximum(np.abs(weights).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny)
    levels = np.clip(np.rint(weights / scales), -128, 127).astype(np.int8)
    return {"weight": levels, "weight_scale": scales.astype(np.float32)}


def _int8_layouts(outputs: int, inputs: int) -> dict[str, Layout]:
    return {"weight": Layout("I8", (outputs, inputs)), "weight_scale": Layout("F32", (outputs, 1))}


def _fp8(weights: Weights) -> dict[str, Array]:
    outputs, inputs = weights.shape
    blocks = weights.reshape(outputs // FP8_BLOCK, FP8_BLOCK, inputs // FP8_BLOCK, FP8_BLOCK)
    scales = np.maximum(np.abs(blocks).max(axis=(1, 3)) / e4m3_levels()[-1], np.finfo(np.float32).tiny)
    scaled = (blocks / scales[:, None, :, None]).reshape(weights.shape)
    return {"weight": to_e4m3(scaled), "weight_scale_inv": scales.astype(np.float32)}


def _fp8_layouts(outputs: int, inputs: int) -> dict[str, Layout]:
    return {
        "weight": Layout("F8_E4M3", (outputs, inputs)),
        "weight_scale_inv": Layout("F32", (outputs // FP8_BLOCK, inputs // FP8_BLOCK)),
    }


def _nf4_state(outputs: int, inputs: int) -> Array:
    state = {"quant_type": "nf4", "blocksize": NF4_BLOCK, "dtype": "float16", "shape": [outputs, inputs]}
    return np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)


def _nf4(weights: Weights) -> dict[str, Array]:
    blocks = weights.reshape(-1, NF4_BLOCK)
    largest = np.maximum(np.abs(blocks).max(axis=1), np.finfo(np.float32).tiny)
    middles = (NF4_LEVELS[:-1] + NF4_LEVELS[1:]) / 2
    levels = np.searchsorted(middles, (blocks / largest[:, None]).reshape(-1)).astype(np.uint8)
    return {
        "weight": ((levels[0::2] << 4) | levels[1::2])[:, None],
        "weight.absmax": largest.astype(np.float32),
        "weight.quant_map": NF4_LEVELS,
        "weight.quant_state.bitsandbytes__nf4": _nf4_state(*weights.shape),
    }


def _nf4_layouts(outputs: int, inputs: int) -> dict[str, Layout]:
    elements = outputs * inputs
    return {
        "weight": Layout("U8", (elements // 2, 1)),
        "weight.absmax": Layout("F32", (elements // NF4_BLOCK,)),
        "weight.quant_map": Layout("F32", (16,)),
        "weight.quant_state.bitsandbytes__nf4": Layout("U8", _nf4_state(outputs, inputs).shape),
    }


# --- configurations ----------------------------------------------------------------------------------------


def _compressed(form: str, weights: dict[str, Any], activations: dict[str, Any] | None) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "kv_cache_scheme": None,
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    }


_WHOLE: Final = {"type": "int", "symmetric": True, "dynamic": False, "actorder": None, "observer": "minmax"}
QUANTIZATIONS: Final = {
    "awq": Quantization(
        {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm",
         "modules_to_not_convert": ["lm_head"]},
        _awq_layouts, _awq, (_NIBBLES, GROUP),
    ),
    "gptq": Quantization(
        {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": True, "lm_head": False,
         "checkpoint_format": "gptq"},
        _gptq_layouts, _gptq, (_NIBBLES, GROUP),
    ),
    "w4a16": Quantization(
        _compressed("pack-quantized", {**_WHOLE, "num_bits": 4, "strategy": "group", "group_size": GROUP}, None),
        _w4a16_layouts, _w4a16, (1, GROUP),
    ),
    "int8": Quantization(
        _compressed(
            "int-quantized",
            {**_WHOLE, "num_bits": 8, "strategy": "channel", "group_size": None},
            {"type": "int", "num_bits": 8, "symmetric": True, "dynamic": True, "strategy": "token"},
        ),
        _int8_layouts, _int8, (1, 1),
    ),
    "fp8": Quantization(
        {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3",
         "weight_block_size": [FP8_BLOCK, FP8_BLOCK]},
        _fp8_layouts, _fp8, (FP8_BLOCK, FP8_BLOCK),
    ),
    "nf4": Quantization(
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": "nf4",
         "bnb_4bit_compute_dtype": "float16", "bnb_4bit_use_double_quant": False, "bnb_4bit_quant_storage": "uint8",
         "llm_int8_skip_modules": ["lm_head"]},
        _nf4_layouts, _nf4, (1, NF4_BLOCK),
    ),
}  # fmt: skip
"""By the name that a user gives."""
