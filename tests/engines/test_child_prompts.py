"""From requests and chats to token ids, in the child; a tokenizer that counts letters stands in."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_vllmperf.engines import forkserver
from pytest_vllmperf.workload import Request

FOLDER = Path(forkserver.__file__).parent / "child"
CHAT = [{"role": "user", "content": "hello you"}]
NO_TOKENIZER = "the tokenizer, which skip_tokenizer_init=True leaves out"


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    yield importlib.import_module("vllmperf_prompts")
    sys.modules.pop("vllmperf_prompts", None)


class Tokenizer:
    """A token for each word, its id the length of it; 1 begins a text, 2 a turn, 3 the turn that is to be filled."""

    def __init__(self, chat_template: str | None = "template") -> None:
        self.chat_template = chat_template
        self.name_or_path = "org/letters"

    def encode(self, text: str) -> Iterator[int]:
        return iter([1, *(len(word) for word in text.split())])

    def decode(self, tokens: list[int]) -> str:
        return "".join(f"<{token}>" for token in tokens)

    def apply_chat_template(
        self,
        messages: list[dict[str, str]],
        *,
        tokenize: bool = False,
        add_generation_prompt: bool = False,
        return_dict: bool = True,
    ) -> Any:
        if not tokenize:
            return "text"
        ids = [token for one in messages for token in (2, *(len(word) for word in one["content"].split()))]
        ids += [3] if add_generation_prompt else []
        return {"input_ids": ids} if return_dict else iter(ids)


@pytest.mark.parametrize(
    ("request_", "ids"),
    [
        (Request(0, 1, prompt_token_ids=(5, 6)), [5, 6]),
        (Request(0, 1, prompt="hello you"), [1, 5, 3]),
        (Request(0, 1, messages=tuple(CHAT)), [2, 5, 3, 3]),
    ],
)
def test_each_kind_of_request_becomes_token_ids(prompts: Any, request_: Request, ids: list[int]) -> None:
    found = prompts.token_ids(request_.to_wire(), Tokenizer())
    assert found == ids
    assert isinstance(found, list)  # it goes over the wire


def test_token_ids_need_no_tokenizer(prompts: Any) -> None:
    assert prompts.token_ids({"prompt_token_ids": (5, 6)}, None) == [5, 6]


@pytest.mark.parametrize("request_", [{"prompt": "hello"}, {"messages": CHAT}])
def test_text_and_chats_need_one(prompts: Any, request_: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^text and chat need {NO_TOKENIZER}$"):
        prompts.token_ids(request_, None)


def test_a_chat_is_rendered_with_its_tokens_as_text(prompts: Any) -> None:
    other = [*CHAT, {"role": "assistant", "content": "yes"}]
    assert prompts.render([CHAT, other], Tokenizer()) == [
        {"ids": [2, 5, 3, 3], "tokens": ["<2>", "<5>", "<3>", "<3>"]},
        {"ids": [2, 5, 3, 2, 3, 3], "tokens": ["<2>", "<5>", "<3>", "<2>", "<3>", "<3>"]},
    ]


@pytest.mark.parametrize("template", [None, ""])
def test_a_tokenizer_without_template_is_named(prompts: Any, template: str | None) -> None:
    with pytest.raises(ValueError, match=r"^the tokenizer of org/letters has no chat template$"):
        prompts.render([CHAT], Tokenizer(template))


def test_a_chat_without_a_tokenizer_is_refused(prompts: Any) -> None:
    with pytest.raises(ValueError, match=f"^a chat needs {NO_TOKENIZER}$"):
        prompts.render([CHAT], None)


def test_another_models_tokenizer_is_loaded_with_none_of_its_code(
    prompts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AutoTokenizer:
        @staticmethod
        def from_pretrained(model: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
            return model, arguments

    library = ModuleType("transformers")
    library.__dict__["AutoTokenizer"] = AutoTokenizer
    monkeypatch.setitem(sys.modules, "transformers", library)
    assert prompts.load_tokenizer("org/other") == ("org/other", {"trust_remote_code": False})


@pytest.mark.parametrize(("prompt", "output", "fits"), [(6, 4, True), (7, 4, False), (6, 5, False), (11, 1, False)])
def test_what_does_not_fit_is_refused_with_its_lengths(prompts: Any, prompt: int, output: int, fits: bool) -> None:
    request = {"index": 3, "output_tokens": output}
    if fits:
        prompts.check_fit(request, [0] * prompt, 10)
        return
    with pytest.raises(ValueError, match="request 3") as caught:
        prompts.check_fit(request, [0] * prompt, 10)
    assert str(caught.value) == (
        f"request 3 takes {prompt} prompt + {output} output tokens = {prompt + output}, more than max_model_len=10"
    )
