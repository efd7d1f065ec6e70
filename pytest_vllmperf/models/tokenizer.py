"""A tokenizer with a chat template, trained on text made here: no network, and the same to the byte everywhere."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

_BOS, _EOS, _HEADER, _END = "<|begin|>", "<|end|>", "<|role|>", "<|turn|>"
_MOST_TOKENS = 8192  # the text has no more merges to offer; a larger vocabulary has ids that no text gives
_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    f"{_HEADER}{{{{ message['role'] }}}}\n{{{{ message['content'] }}}}{_END}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{_HEADER}assistant\n{{% endif %}}"
)


def train(vocab_size: int, seed: int) -> str:
    """A byte-level BPE of that size, or the largest that the text allows, as the text of `tokenizer.json`.

    Raises:
        ImportError: when tokenizers is not installed.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(vocab_size, _MOST_TOKENS),
        special_tokens=[_BOS, _EOS, _HEADER, _END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_text(seed), trainer)
    return str(tokenizer.to_str(pretty=True))


def settings(max_model_len: int) -> dict[str, Any]:
    """The content of `tokenizer_config.json`."""
    return {
        "additional_special_tokens": [_HEADER, _END],
        "bos_token": _BOS,
        "chat_template": _CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": _EOS,
        "model_max_length": max_model_len,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def training_text(seed: int) -> list[str]:
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
