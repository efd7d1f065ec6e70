"""Readers of the packed formats, written from what reads them, not from what packs them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Tensors = Mapping[str, NDArray[Any]]


def nibble(packed: NDArray[np.int32], place: int) -> NDArray[np.int64]:
    """The 4 bits at a place, counted from the lowest, of every int32."""
    return (packed.astype(np.int64) >> (4 * place)) & 15


def awq(tensors: Tensors) -> Floats:
    """AutoAWQ's GEMM layout: column 8 c + k lies in nibble (0, 4, 1, 5, 2, 6, 3, 7)[k] of int32 c."""
    where = (0, 4, 1, 5, 2, 6, 3, 7)

    def unpack(packed: NDArray[np.int32]) -> NDArray[np.int64]:
        return np.stack([nibble(packed, place) for place in where], axis=2).reshape(len(packed), -1)

    group = len(tensors["qweight"]) // len(tensors["scales"])
    zeros = np.repeat(unpack(tensors["qzeros"]), group, axis=0)
    scales = np.repeat(tensors["scales"].astype(np.float32), group, axis=0)
    return np.asarray(((unpack(tensors["qweight"]) - zeros) * scales).T, dtype=np.float32)


def gptq(tensors: Tensors) -> Floats:
    """GPTQ version 1: row 8 r + k lies in nibble k of row r, the stored zero points are one less than they mean."""
    packed = tensors["qweight"]
    levels = np.stack([nibble(packed, place) for place in range(8)], axis=1).reshape(-1, packed.shape[1])
    zeros = np.stack([nibble(tensors["qzeros"], place) for place in range(8)], axis=2)
    zeros = zeros.reshape(len(tensors["qzeros"]), -1) + 1
    group = tensors["g_idx"]
    return np.asarray(((levels - zeros[group]) * tensors["scales"].astype(np.float32)[group]).T, dtype=np.float32)


def w4a16(tensors: Tensors) -> Floats:
    """compressed-tensors' pack-quantized: column 8 c + k lies in nibble k of int32 c, offset by 8."""
    packed = tensors["weight_packed"]
    levels = np.stack([nibble(packed, place) for place in range(8)], axis=2).reshape(len(packed), -1) - 8
    scales = tensors["weight_scale"].astype(np.float32)
    assert tuple(tensors["weight_shape"]) == levels.shape
    return np.asarray(levels * np.repeat(scales, levels.shape[1] // scales.shape[1], axis=1), dtype=np.float32)


def int8(tensors: Tensors) -> Floats:
    """compressed-tensors' int-quantized: a scale per output."""
    return np.asarray(tensors["weight"].astype(np.float32) * tensors["weight_scale"], dtype=np.float32)


def e4m3(codes: NDArray[np.uint8]) -> Floats:
    """The value of an fp8 code: sign, 4 bits of exponent with bias 7, 3 bits of mantissa, subnormal at exponent 0."""
    sign = np.where(codes & 0x80, -1.0, 1.0)
    exponent, mantissa = (codes >> 3 & 15).astype(int), codes & 7
    size = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10))
    return np.asarray(sign * size, dtype=np.float32)


def fp8(tensors: Tensors) -> Floats:
    """Blocks of 128 x 128 with a scale each."""
    scales = np.repeat(np.repeat(tensors["weight_scale_inv"], 128, axis=0), 128, axis=1)
    return np.asarray(e4m3(tensors["weight"]) * scales, dtype=np.float32)


def nf4(tensors: Tensors) -> Floats:
    """bitsandbytes: two codes a byte, the first one high; blocks of 64 in row order, scaled by their largest value."""
    state = json.loads(bytes(tensors["weight.quant_state.bitsandbytes__nf4"]))
    packed = tensors["weight"].reshape(-1)
    codes = np.stack([packed >> 4, packed & 15], axis=1).reshape(-1)
    values = tensors["weight.quant_map"][codes].reshape(-1, state["blocksize"])
    return np.asarray((values * tensors["weight.absmax"][:, None]).reshape(state["shape"]), dtype=np.float32)


READERS = {"awq": awq, "gptq": gptq, "w4a16": w4a16, "int8": int8, "fp8": fp8, "nf4": nf4}
