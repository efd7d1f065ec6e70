"""From a request, or a chat, to the token ids that an engine is given."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

CHAT_ARGUMENTS = ("chat_template_content_format", "chat_template_kwargs")
"""Arguments of `LLM.chat` that the plugin takes with the engine's; `LLM` itself takes `chat_template`."""
CONTENT_FORMATS = ("auto", "string", "openai")
_NEED = "a tokenizer, but skip_tokenizer_init=True skips it"
Renderer = Callable[[list[dict[str, str]]], list[int]]


def take_chat_arguments(engine_args: dict[str, Any]) -> dict[str, Any]:
    """Take the arguments of `LLM.chat` out of an engine's.

    Raises:
        ValueError: for a value that vLLM does not document.
    """
    chat = {name: engine_args.pop(name) for name in CHAT_ARGUMENTS if name in engine_args}
    chat = {name: value for name, value in chat.items() if value is not None}
    given, values = chat.get("chat_template_content_format", "auto"), chat.get("chat_template_kwargs", {})
    if given not in CONTENT_FORMATS:
        raise ValueError(
            f"chat_template_content_format={given!r} is not valid; choose one of {', '.join(CONTENT_FORMATS)}"
        )
    if not isinstance(values, dict):
        raise ValueError(f"chat_template_kwargs={values!r} must map names to values")
    return chat


def load_template(template: str | None) -> str | None:
    """A chat template's text; given as text, or as the path of a file that holds it, as vLLM takes it.

    Raises:
        ValueError: for a path that cannot be read.
    """
    if template is None:
        return None
    try:
        with open(template, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError):
        if any(sign in template for sign in "{}\n"):
            return template
    raise ValueError(f"chat_template={template!r} is neither a template nor a readable file")


def template_digest(chat: dict[str, Any]) -> dict[str, str]:
    """What tells the engine's own chat template from another; nothing where the tokenizer's is used."""
    template = chat.get("chat_template")
    return {} if template is None else {"chat_template": hashlib.sha256(template.encode()).hexdigest()[:12]}


def token_ids(request: dict[str, Any], tokenizer: Any, chat_ids: Renderer) -> list[int]:
    """The request's prompt as tokens, through the model's tokenizer and the engine's chat template.

    Args:
        request: with `prompt_token_ids`, `prompt` or `messages`.
        tokenizer: of the model; None where the engine has none, which only suits token ids.
        chat_ids: the engine's own way from a chat to token ids.
    """
    if "prompt_token_ids" in request:
        return list(request["prompt_token_ids"])
    if tokenizer is None:
        raise ValueError(f"text and chat need {_NEED}")
    if "prompt" in request:
        return list(tokenizer.encode(request["prompt"]))
    try:
        return chat_ids(request["messages"])
    except ValueError as error:
        raise ValueError(f"request {request['index']}: {error}") from error


def render(chats: list[list[dict[str, str]]], tokenizer: Any, chat_ids: Renderer) -> list[dict[str, Any]]:
    """For each chat its token ids, and each token as text, for a person.

    Args:
        chats: each a list of messages.
        tokenizer: decodes the ids; None where the engine has none.
        chat_ids: from a chat to token ids.
    """
    if tokenizer is None:
        raise ValueError(f"a chat needs {_NEED}")
    rendered = []
    for messages in chats:
        ids = chat_ids(messages)
        rendered.append({"ids": ids, "tokens": [tokenizer.decode([token]) for token in ids]})
    return rendered


def render_by(model: str, chats: list[list[dict[str, str]]], chat: dict[str, Any]) -> list[dict[str, Any]]:
    """Chats rendered by another model's tokenizer and its own template, with the values that the engine's gets."""
    values = {name: value for name, value in chat.items() if name == "chat_template_kwargs"}
    try:
        tokenizer = load_tokenizer(model, trust_remote_code=False)
    except ValueError as error:
        if not needs_trust(error):
            raise
        advice = "compare with an engine of this model that sets trust_remote_code=True"
        raise ValueError(
            f"the tokenizer of {model} needs code from its repository, which is not executed here; {advice}"
        ) from error
    return render(chats, tokenizer, lambda messages: chat_ids(messages, tokenizer, values))


def chat_ids(messages: list[dict[str, str]], tokenizer: Any, chat: dict[str, Any]) -> list[int]:
    """A chat rendered by a tokenizer of transformers, with the turn opened that the model is to fill.

    Args:
        messages: the chat.
        tokenizer: has a chat template of its own, unless `chat` has one.
        chat: the template's text as `chat_template`, values for it as `chat_template_kwargs`; both may be absent.

    Raises:
        ValueError: where there is no template, or it cannot render this chat.
    """
    template = chat.get("chat_template")
    if not (template or getattr(tokenizer, "chat_template", None)):
        raise ValueError(f"the tokenizer of {tokenizer.name_or_path} has no chat template")
    given = dict(chat.get("chat_template_kwargs", {}))
    given |= {"tokenize": True, "add_generation_prompt": True, "return_dict": False}
    if template:
        given["chat_template"] = template
    return token_list(lambda: tokenizer.apply_chat_template(messages, **given))


def has_media(request: dict[str, Any]) -> bool:
    """Whether a chat holds more than text: a part of a message that is of another kind."""
    contents = [message.get("content") for message in request.get("messages") or ()]
    parts = [part for content in contents if isinstance(content, (list, tuple)) for part in content]
    return any(isinstance(part, dict) and part.get("type") not in (None, "text") for part in parts)


def token_list(render_one: Callable[[], Any]) -> list[int]:
    """The token ids of one chat, see `rendered`."""
    return list(rendered(render_one))


def rendered(render_one: Callable[[], Any]) -> Any:
    """One chat as rendered, with whatever its template raises as a ValueError: the chat does not suit it."""
    try:
        return render_one()
    except Exception as error:
        raise ValueError(f"the chat cannot be rendered: {str(error) or type(error).__name__}") from error


def lora_requests(adapters: dict[str, str]) -> dict[str, Any]:
    """What vLLM calls each adapter, by name."""
    if not adapters:
        return {}
    from vllm.lora.request import LoRARequest

    return {
        name: LoRARequest(lora_name=name, lora_int_id=number, lora_path=os.path.expanduser(path))
        for number, (name, path) in enumerate(adapters.items(), start=1)
    }


def load_tokenizer(model: str, *, trust_remote_code: bool) -> Any:
    """A model's tokenizer, from its own files.

    Args:
        model: path or hub name.
        trust_remote_code: whether code that lies with the model may run.
    """
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code)


def needs_trust(error: Exception) -> bool:
    """Whether a library says that a model needs code of its own."""
    return "trust_remote_code" in str(error)


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
