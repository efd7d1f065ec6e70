"""Dimensions and tensor names of the real models."""

from __future__ import annotations

import math

import pytest

from pytest_vllmperf.models.shapes import SHAPES, Shape, config, is_linear, tensor_shapes


@pytest.mark.parametrize(
    ("name", "parameters"), [("llama-8b", 8_030_261_248), ("qwen3-0.6b", 596_049_920), ("tiny", 4_196_608)]
)
def test_the_parameters_are_those_of_the_real_model(name: str, parameters: int) -> None:
    assert sum(math.prod(size) for size in tensor_shapes(SHAPES[name]).values()) == parameters


def test_the_kv_cache_takes_what_it_takes_of_the_real_model() -> None:
    for name, bytes_per_token in (("qwen3-0.6b", 114_688), ("llama-8b", 131_072)):
        told = config(SHAPES[name], "bfloat16")
        per_layer = told["num_key_value_heads"] * told["head_dim"] * 2 * 2
        assert told["num_hidden_layers"] * per_layer == bytes_per_token


def test_qwen_norms_queries_and_keys_and_shares_its_head() -> None:
    names = tensor_shapes(SHAPES["qwen3-0.6b"])
    assert names["model.layers.27.self_attn.q_norm.weight"] == (128,)
    assert names["model.layers.0.self_attn.q_proj.weight"] == (2048, 1024)
    assert "lm_head.weight" not in names
    assert config(SHAPES["qwen3-0.6b"], "float16")["architectures"] == ["Qwen3ForCausalLM"]
    assert "model.layers.0.self_attn.q_norm.weight" not in tensor_shapes(Shape())


def test_projections_are_quantized_and_nothing_else() -> None:
    linear = [name for name in tensor_shapes(SHAPES["qwen3-0.6b"]) if is_linear(name)]
    assert len(linear) == 7 * 28
    assert not any("norm" in name or "embed" in name for name in linear)
    assert not is_linear("lm_head.weight")
