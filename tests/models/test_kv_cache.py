"""Bytes of a token in the KV cache, against sums done by hand from published configurations."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.models.kv_cache import kv_bytes_per_token

relaxed = settings(max_examples=300)

Config = dict[str, Any]

QWEN3: Config = {
    "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "hidden_size": 1024,
    "sliding_window": None, "layer_types": ["full_attention"] * 28,
}  # fmt: skip
LLAMA: Config = {
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096
}  # fmt: skip
DEEPSEEK: Config = {
    "num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16, "hidden_size": 2048,
    "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
}  # fmt: skip
PYTHIA: Config = {"num_hidden_layers": 6, "num_attention_heads": 8, "hidden_size": 512}


@pytest.mark.parametrize(
    ("config", "dtype", "size"),
    [
        (QWEN3, "bfloat16", 28 * 8 * 128 * 2 * 2),
        (QWEN3, "bfloat16", 114_688),
        (LLAMA, "float16", 131_072),
        (LLAMA, "torch.float16", 131_072),
        (LLAMA, "half", 131_072),
        (LLAMA, "float32", 262_144),
        (LLAMA, "float", 262_144),
        (DEEPSEEK, "bfloat16", 31_104),
        (DEEPSEEK, "float32", 62_208),
        (PYTHIA, "float16", 6 * 8 * 64 * 2 * 2),  # as many KV heads as heads
        (PYTHIA | {"num_key_value_heads": None, "head_dim": 0}, "float16", 6 * 8 * 64 * 2 * 2),
        (LLAMA | {"head_dim": 64}, "float16", 65_536),  # a head size of its own, whatever the hidden size
        (PYTHIA | {"head_dim": 32, "v_head_dim": 32}, "float16", 6 * 8 * 32 * 2 * 2),
    ],
)
def test_published_models(config: Config, dtype: str, size: int) -> None:
    assert kv_bytes_per_token(config, dtype) == size


@pytest.mark.parametrize("dtype", ["fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc"])
def test_a_cache_in_fp8_takes_one_byte_a_number(dtype: str) -> None:
    assert kv_bytes_per_token(LLAMA, dtype) == 65_536
    assert kv_bytes_per_token(DEEPSEEK, dtype) is None  # packed with scales beside it


@pytest.mark.parametrize(
    "dtype", ["fp8_per_token_head", "int8_per_token_head", "fp8_ds_mla", "nvfp4", "turboquant_k8v4", "auto", "", "None"]
)
def test_a_cache_that_keeps_more_than_its_numbers_is_unknown(dtype: str) -> None:
    assert kv_bytes_per_token(LLAMA, dtype) is None


@pytest.mark.parametrize(("ranks", "heads"), [(1, 8), (2, 8), (8, 8), (16, 16), (64, 64)])
def test_heads_that_cannot_be_divided_are_kept_on_each_rank(ranks: int, heads: int) -> None:
    assert kv_bytes_per_token(LLAMA, "bfloat16", ranks) == 32 * heads * 128 * 2 * 2


@pytest.mark.parametrize("ranks", [1, 2, 8])
def test_what_latent_attention_keeps_is_kept_on_each_rank(ranks: int) -> None:
    assert kv_bytes_per_token(DEEPSEEK, "bfloat16", ranks) == 31_104 * ranks


@pytest.mark.parametrize("name", ["num_kv_heads", "n_head_kv", "multi_query_group_num", "num_attention_groups"])
def test_kv_heads_go_by_several_names(name: str) -> None:
    assert kv_bytes_per_token(PYTHIA | {name: 2}, "float16") == 6 * 2 * 64 * 2 * 2


@pytest.mark.parametrize(
    "windows",
    [
        {"sliding_window": 4096},
        {"sliding_window": 4096, "layer_types": ["sliding_attention"] * 32},
        {"layer_types": ("full_attention",) * 32},
        {"layer_types": []},
    ],
)
def test_a_window_that_all_layers_have_alters_nothing(windows: Config) -> None:
    assert kv_bytes_per_token(LLAMA | windows, "bfloat16") == 131_072


@pytest.mark.parametrize(
    "changed",
    [
        {"layer_types": ["full_attention", "sliding_attention"] * 16},
        {"layer_types": ["linear_attention"] * 31 + ["full_attention"]},
        {"layer_types": True},  # there is something, nobody knows what
        {"mamba_d_state": 16},
        {"ssm_cfg": {"layer": "Mamba2"}},
        {"ssm_state_size": 128},
        {"hybrid_override_pattern": "M-M*"},
        {"hybrid_layer_pattern": [0, 1]},
        {"attn_type_list": [0, 1]},
        {"linear_attn_config": {"kda_layers": [1]}},
        {"linear_num_key_heads": 16},
        {"block_types": ["recurrent", "attention"]},
        {"layers_block_type": ["mamba"]},
        {"block_configs": [{"attention": {}}]},
        {"num_kv_shared_layers": 15},
        {"use_cla": True},
        {"is_encoder_decoder": True},
        {"multi_query": True},
        {"index_topk": 2048},
        {"compress_ratios": [4]},
        {"head_dim": 192, "v_head_dim": 128},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_layers_that_differ_are_unknown(changed: Config) -> None:
    assert kv_bytes_per_token(LLAMA | changed, "bfloat16") is None
    assert kv_bytes_per_token(LLAMA | dict.fromkeys(changed), "bfloat16") == 131_072


def test_layers_with_an_index_beside_latent_attention_are_unknown() -> None:
    assert kv_bytes_per_token(DEEPSEEK | {"index_topk": 2048}, "bfloat16") is None


@pytest.mark.parametrize(("used", "size"), [(True, 31_104), (False, None), (None, 31_104)])
def test_latent_attention_counts_where_vllm_uses_it(used: bool | None, size: int | None) -> None:
    assert kv_bytes_per_token(DEEPSEEK | {"use_mla": used}, "bfloat16") == size
    assert kv_bytes_per_token(LLAMA | {"use_mla": used}, "bfloat16") == 131_072


@pytest.mark.parametrize("missing", ["num_hidden_layers", "num_attention_heads", "hidden_size", "qk_rope_head_dim"])
def test_a_missing_field_is_unknown(missing: str) -> None:
    whole = DEEPSEEK if missing == "qk_rope_head_dim" else PYTHIA
    config = {name: value for name, value in whole.items() if name != missing}
    assert kv_bytes_per_token(config, "bfloat16") is None


@pytest.mark.parametrize("odd", [True, "8", 8.0, -8, [8, 4], {"all": 8}])
@pytest.mark.parametrize("name", ["num_hidden_layers", "num_key_value_heads", "head_dim"])
def test_an_odd_field_is_unknown_and_nothing_stands_in_for_it(name: str, odd: Any) -> None:
    assert kv_bytes_per_token(LLAMA | {"head_dim": 128, name: odd}, "bfloat16") is None


fields = st.sampled_from(sorted({*QWEN3, *DEEPSEEK, "use_mla", "mamba_d_state", "num_kv_heads", "is_encoder_decoder"}))
odd_values = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**6), st.floats(), st.text(max_size=3),
    st.lists(st.one_of(st.text(max_size=2), st.none(), st.integers()), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {"num_attention_heads": 513},  # no number is left for a head
        {"hidden_size": 7},
        *({name: 0} for name in ("num_hidden_layers", "num_attention_heads", "hidden_size")),
        {"kv_lora_rank": 512, "qk_rope_head_dim": 0},
    ],
)
def test_what_would_come_to_nothing_is_unknown(changed: Config) -> None:
    assert kv_bytes_per_token(PYTHIA | changed, "bfloat16") is None


@pytest.mark.parametrize("heads", [4, 512])
def test_the_least_that_a_head_keeps_is_one_number(heads: int) -> None:
    config = {"num_hidden_layers": 1, "num_attention_heads": heads, "hidden_size": heads}
    assert kv_bytes_per_token(config, "float16") == heads * 2 * 2


@relaxed
@example(PYTHIA, {"num_attention_heads": 513}, "bfloat16", 1)
@given(
    st.sampled_from([QWEN3, LLAMA, DEEPSEEK, PYTHIA]), st.dictionaries(fields, odd_values, max_size=4),
    st.sampled_from(["bfloat16", "fp8", "auto", "torch.float32"]), st.integers(1, 16),
)  # fmt: skip
def test_nothing_that_a_configuration_tells_raises(base: Config, changed: Config, dtype: str, ranks: int) -> None:
    found = kv_bytes_per_token(base | changed, dtype, ranks)
    assert found is None or (type(found) is int and found > 0)
