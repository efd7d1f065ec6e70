"""Models that the package makes itself: real checkpoints with random weights, no network.

The tiny Llama is what the demo, the tests and the documentation run on. It is the same to the byte on every
machine: weights come from numpy's PCG64 generator, the tokenizer is trained on text made here.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from pytest_vllmperf.errors import ModelError

PREFIX = "vllmperf:"
_REVISION = 1  # in the folder's name: a changed recipe must not meet an old cache
_BOS, _EOS, _HEADER, _END = "<|begin|>", "<|end|>", "<|role|>", "<|turn|>"
_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    f"{_HEADER}{{{{ message['role'] }}}}\n{{{{ message['content'] }}}}{_END}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{_HEADER}assistant\n{{% endif %}}"
)


@dataclass(frozen=True)
class Shape:
    """A Llama's dimensions.

    Attributes:
        vocab_size: rows of the embedding; the tokenizer is trained to the same size.
        hidden_size: width of the residual stream.
        intermediate_size: width of the MLP.
        layers: decoder layers.
        heads: attention heads.
        kv_heads: key and value heads.
        max_model_len: positions.
        seed: of weights and tokenizer text.
    """

    vocab_size: int = 2048
    hidden_size: int = 256
    intermediate_size: int = 688
    layers: int = 4
    heads: int = 8
    kv_heads: int = 4
    max_model_len: int = 2048
    seed: int = 0


SHAPES = {"tiny": Shape()}


def resolve(model: str) -> str:
    """The path of a built-in model (`vllmperf:tiny`), made on first use; any other name unchanged.

    Raises:
        ModelError: for a built-in name that does not exist, or when it cannot be made.
    """
    if not model.startswith(PREFIX):
        return model
    name = model.removeprefix(PREFIX)
    if name not in SHAPES:
        raise ModelError(f"there is no built-in model {name!r}; there is {', '.join(PREFIX + s for s in SHAPES)}")
    return str(make_model(cache_folder() / f"{name}-{_REVISION}", SHAPES[name]))


def cache_folder() -> Path:
    """Where built-in models are kept: $VLLMPERF_CACHE, or pytest-vllmperf in the user's cache folder."""
    chosen = os.environ.get("VLLMPERF_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytest-vllmperf"


def make_model(folder: Path, shape: Shape | None = None) -> Path:
    """Make a checkpoint, or leave the finished one that lies there.

    It is written beside and renamed, so that a folder of this name is always whole; two runs that want it at once
    make it once.

    Raises:
        ModelError: when safetensors or tokenizers is not installed, the folder holds something else, or it cannot
            be written.
    """
    shape = shape or Shape()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder) + ".lock"):
            if folder.exists():
                return _finished(folder)
            return _make_beside(folder, shape)
    except OSError as error:
        raise ModelError(f"{folder}: the model could not be written: {error.strerror or error}") from None


def _finished(folder: Path) -> Path:
    missing = [name for name in ("config.json", "model.safetensors", "tokenizer.json") if not (folder / name).exists()]
    if missing:
        raise ModelError(f"{folder} is there but is no finished model ({', '.join(missing)} missing); remove it")
    return folder


def _make_beside(folder: Path, shape: Shape) -> Path:
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        _write_weights(temporary, shape)
        _write_tokenizer(temporary, shape)
        _write_json(temporary / "config.json", _config(shape))
        _write_json(temporary / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 1})
        temporary.chmod(0o755)
        return temporary.rename(folder)
    except ImportError as error:
        raise ModelError(f"{error.name} is needed to make a model: pip install 'pytest-vllmperf[models]'") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _config(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 0,
        "dtype": "float32",
        "eos_token_id": 1,
        "head_dim": shape.hidden_size // shape.heads,
        "hidden_act": "silu",
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "max_position_embeddings": shape.max_model_len,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "vocab_size": shape.vocab_size,
    }


def _tensor_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a Llama's tensors, as transformers writes them: (output features, input features)."""
    hidden, middle = shape.hidden_size, shape.intermediate_size
    kv = hidden // shape.heads * shape.kv_heads
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (shape.vocab_size, hidden)}
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "input_layernorm.weight": (hidden,),
            prefix + "self_attn.q_proj.weight": (hidden, hidden),
            prefix + "self_attn.k_proj.weight": (kv, hidden),
            prefix + "self_attn.v_proj.weight": (kv, hidden),
            prefix + "self_attn.o_proj.weight": (hidden, hidden),
            prefix + "post_attention_layernorm.weight": (hidden,),
            prefix + "mlp.gate_proj.weight": (middle, hidden),
            prefix + "mlp.up_proj.weight": (middle, hidden),
            prefix + "mlp.down_proj.weight": (hidden, middle),
        }
    return {**shapes, "model.norm.weight": (hidden,), "lm_head.weight": (shape.vocab_size, hidden)}


def _write_weights(folder: Path, shape: Shape) -> None:
    """Norms of one, all else normal with standard deviation 0.02, as Llama is initialised."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    generator = np.random.Generator(np.random.PCG64(shape.seed))
    tensors = {}
    for name, size in _tensor_shapes(shape).items():
        norm = len(size) == 1
        drawn = np.ones(size) if norm else generator.standard_normal(size, dtype=np.float64) * 0.02
        tensors[name] = drawn.astype(np.float32)
    try:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from None


def _write_tokenizer(folder: Path, shape: Shape) -> None:
    """A byte-level BPE trained on text made here, with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocab_size,
        special_tokens=[_BOS, _EOS, _HEADER, _END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_training_text(shape.seed), trainer)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    _write_json(
        folder / "tokenizer_config.json",
        {
            "additional_special_tokens": [_HEADER, _END],
            "bos_token": _BOS,
            "chat_template": _CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "eos_token": _EOS,
            "model_max_length": shape.max_model_len,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )


def _training_text(seed: int) -> list[str]:
    """Sentences of made-up words whose frequencies fall as Zipf's law has it, so that merges have work to do."""
    draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
    word = _word_maker(draw)
    words = [word() for _ in range(4000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    return [" ".join(draw.choices(words, weights, k=12)).capitalize() + "." for _ in range(3000)]


def _word_maker(draw: random.Random) -> Callable[[], str]:
    onsets = [
        "b",
        "br",
        "c",
        "ch",
        "d",
        "f",
        "g",
        "gl",
        "h",
        "k",
        "l",
        "m",
        "n",
        "p",
        "pr",
        "r",
        "s",
        "st",
        "t",
        "v",
    ]
    vowels = ["a", "e", "i", "o", "u", "ai", "ea", "ou"]
    codas = ["", "", "n", "r", "s", "t", "l", "nd", "ck"]

    def word() -> str:
        syllables = draw.randint(1, 3)
        return "".join(draw.choice(onsets) + draw.choice(vowels) + draw.choice(codas) for _ in range(syllables))

    return word
