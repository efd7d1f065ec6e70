"""The dimensions of models that are made here, their configurations, and the names of their tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Shape:
    """A decoder's dimensions.

    Attributes:
        vocab_size: rows of the embedding.
        hidden_size: width of the residual stream.
        intermediate_size: width of the MLP.
        layers: decoder layers.
        heads: attention heads.
        kv_heads: key and value heads.
        max_model_len: positions.
        head_dim: width of a head; hidden_size / heads unless given.
        family: whose architecture: Llama's, or Qwen 3's, which norms queries and keys.
        rope_theta: base of the rotary embedding.
        tied: whether the output head is the embedding.
        dtype: of weights that are not quantized.
        seed: of weights and tokenizer text.
    """

    vocab_size: int = 2048
    hidden_size: int = 256
    intermediate_size: int = 768
    layers: int = 4
    heads: int = 8
    kv_heads: int = 4
    max_model_len: int = 2048
    head_dim: int | None = None
    family: Literal["llama", "qwen3"] = "llama"
    rope_theta: float = 10000.0
    tied: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0

    @property
    def head_size(self) -> int:
        """Width of a head."""
        return self.head_dim or self.hidden_size // self.heads


SHAPES = {
    "tiny": Shape(),
    "qwen3-0.6b": Shape(
        vocab_size=151936, hidden_size=1024, intermediate_size=3072, layers=28, heads=16, kv_heads=8,
        max_model_len=40960, head_dim=128, family="qwen3", rope_theta=1e6, tied=True, dtype="bfloat16",
    ),
    "llama-8b": Shape(
        vocab_size=128256, hidden_size=4096, intermediate_size=14336, layers=32, heads=32, kv_heads=8,
        max_model_len=8192, rope_theta=500000.0, dtype="bfloat16",
    ),
}  # fmt: skip


def config(shape: Shape, dtype: str) -> dict[str, Any]:
    """The content of `config.json`, without a quantization.

    Args:
        shape: the dimensions.
        dtype: of weights that are not quantized.
    """
    names = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
    return {
        "architectures": [names[shape.family]],
        "attention_bias": False,
        "bos_token_id": 0,
        "dtype": dtype,
        "eos_token_id": 1,
        "head_dim": shape.head_size,
        "hidden_act": "silu",
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "max_position_embeddings": shape.max_model_len,
        "mlp_bias": False,
        "model_type": shape.family,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": 1e-5 if shape.family == "llama" else 1e-6,
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": shape.tied,
        "vocab_size": shape.vocab_size,
    }


def tensor_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors, as transformers writes them: (output features, input features)."""
    hidden, middle, head = shape.hidden_size, shape.intermediate_size, shape.head_size
    queries, keys = head * shape.heads, head * shape.kv_heads
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (shape.vocab_size, hidden)}
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "input_layernorm.weight": (hidden,),
            prefix + "self_attn.q_proj.weight": (queries, hidden),
            prefix + "self_attn.k_proj.weight": (keys, hidden),
            prefix + "self_attn.v_proj.weight": (keys, hidden),
            prefix + "self_attn.o_proj.weight": (hidden, queries),
            prefix + "post_attention_layernorm.weight": (hidden,),
            prefix + "mlp.gate_proj.weight": (middle, hidden),
            prefix + "mlp.up_proj.weight": (middle, hidden),
            prefix + "mlp.down_proj.weight": (hidden, middle),
        }
        if shape.family == "qwen3":
            shapes |= {prefix + f"self_attn.{name}_norm.weight": (head,) for name in ("q", "k")}
    shapes["model.norm.weight"] = (hidden,)
    return shapes if shape.tied else {**shapes, "lm_head.weight": (shape.vocab_size, hidden)}


def is_linear(name: str) -> bool:
    """Whether a tensor is the weight of a layer that quantization replaces: the projections, not the head."""
    return name.endswith("_proj.weight")
