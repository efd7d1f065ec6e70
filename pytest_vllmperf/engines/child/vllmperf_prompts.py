"""From a request, or a chat, to the token ids that an engine is given."""

from __future__ import annotations

from typing import Any


def token_ids(request: dict[str, Any], tokenizer: Any) -> list[int]:
    """The request's prompt as tokens, through the model's own tokenizer and chat template.

    Args:
        request: with `prompt_token_ids`, `prompt` or `messages`.
        tokenizer: of the model; None where the engine has none, which only suits token ids.
    """
    if "prompt_token_ids" in request:
        return list(request["prompt_token_ids"])
    if tokenizer is None:
        raise ValueError("text and chat need the tokenizer, which skip_tokenizer_init=True leaves out")
    if "prompt" in request:
        return list(tokenizer.encode(request["prompt"]))
    return chat_ids(request["messages"], tokenizer)


def chat_ids(messages: list[dict[str, str]], tokenizer: Any) -> list[int]:
    """A chat rendered by the tokenizer's own template, with the turn opened that the model is to fill."""
    return list(tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True, return_dict=False))


def render(chats: list[list[dict[str, str]]], tokenizer: Any) -> list[dict[str, Any]]:
    """For each chat its token ids, and each token as text, for a person."""
    if tokenizer is None:
        raise ValueError("a chat needs the tokenizer, which skip_tokenizer_init=True leaves out")
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(f"the tokenizer of {tokenizer.name_or_path} has no chat template")
    rendered = []
    for messages in chats:
        ids = chat_ids(messages, tokenizer)
        rendered.append({"ids": ids, "tokens": [tokenizer.decode([token]) for token in ids]})
    return rendered


def load_tokenizer(model: str) -> Any:
    """Another model's tokenizer, from its own files and with none of its code."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model, trust_remote_code=False)


def check_fit(request: dict[str, Any], tokens: list[int], max_model_len: int) -> None:
    """Refuse what does not fit.

    Raises:
        ValueError: with the request's lengths.
    """
    length = len(tokens) + request["output_tokens"]
    if length > max_model_len:
        raise ValueError(
            f"request {request['index']} takes {len(tokens)} prompt + {request['output_tokens']} output"
            f" tokens = {length}, more than max_model_len={max_model_len}"
        )
