"""Bytes that a token takes in the KV cache, from a model's configuration. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BYTES = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2}
_FP8 = ("fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc")  # other kinds of it keep scales beside the numbers
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num", "num_attention_groups")
# Fields of models whose layers keep a state of fixed size, keep different things, share another layer's cache or have
# an index of their own beside it: what a token takes is not layers x heads there.
_OTHER_LAYERS = (
    "attn_type_list",
    "block_configs",
    "block_types",
    "compress_ratios",
    "hybrid_layer_pattern",
    "hybrid_override_pattern",
    "index_topk",
    "is_encoder_decoder",
    "layers_block_type",
    "linear_attn_config",
    "linear_num_key_heads",
    "mamba_d_state",
    "multi_query",
    "num_kv_shared_layers",
    "ssm_cfg",
    "ssm_state_size",
    "use_cla",
)


def kv_bytes_per_token(config: Mapping[str, Any], dtype: str, ranks: int = 1) -> int | None:
    """Bytes of keys and values that all layers keep for one token, on all ranks together; None where it is unknown.

    layers x KV heads x head size x 2 x bytes of a number; for multi-head latent attention (DeepSeek-V2, section 2.1),
    which keeps one compressed vector and one rotary key, layers x (kv_lora_rank + qk_rope_head_dim) x bytes. A
    sliding window alters how long a token stays, not what it takes. Unknown: models whose layers differ (windows in
    some of them, linear attention, shared caches), as vLLM groups their layers in ways of its own.

    Args:
        config: the text part of the model's `config.json`; `use_mla` in it is vLLM's own word on latent attention.
        dtype: torch's name of the cache's dtype, such as `bfloat16`; vLLM's `fp8` and its kinds take one byte.
        ranks: of tensor parallelism; heads that cannot be divided are kept on each rank.
    """
    size = 1 if dtype in _FP8 else _BYTES.get(dtype.removeprefix("torch."))
    layers = _number(config, "num_hidden_layers")
    if size is None or layers is None or _mixed(config):
        return None
    if config.get("kv_lora_rank"):
        kept = _latent(config) if size > 1 else None  # in fp8 vLLM packs scales beside it
        return None if kept is None else layers * kept * size * ranks
    heads, head_size = _heads(config), _head_size(config)
    return None if heads is None or head_size is None else layers * max(heads, ranks) * head_size * 2 * size


def _mixed(config: Mapping[str, Any]) -> bool:
    """Whether layers keep different things."""
    kinds = config.get("layer_types")
    differ = len({str(kind) for kind in kinds}) > 1 if isinstance(kinds, (list, tuple)) else bool(kinds)
    return differ or any(config.get(name) for name in _OTHER_LAYERS)


def _latent(config: Mapping[str, Any]) -> int | None:
    """How many numbers of a token latent attention keeps in a layer; unknown where vLLM does not use it."""
    rank, rotary = _number(config, "kv_lora_rank"), _number(config, "qk_rope_head_dim")
    return None if rank is None or rotary is None or config.get("use_mla") is False else rank + rotary


def _heads(config: Mapping[str, Any]) -> int | None:
    """KV heads of a layer: as many as attention heads where the model does not tell them apart."""
    named = next((name for name in _KV_HEADS if config.get(name)), "num_attention_heads")
    return _number(config, named)


def _head_size(config: Mapping[str, Any]) -> int | None:
    """Numbers of one head's key, which are as many as of its value."""
    heads, hidden = _number(config, "num_attention_heads"), _number(config, "hidden_size")
    # More heads than numbers to divide among them leave none for a head.
    divided = hidden // heads or None if heads is not None and hidden is not None else None
    size = _number(config, "head_dim") if config.get("head_dim") else divided
    return size if config.get("v_head_dim") in (None, 0, size) else None


def _number(config: Mapping[str, Any], name: str) -> int | None:
    """A field that counts something; None where it does not."""
    value = config.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
