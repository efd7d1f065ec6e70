"""From requests and chats to token ids, in the child; a tokenizer that counts letters stands in."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_vllmperf.engines import arguments, forkserver
from pytest_vllmperf.workload import Request

FOLDER = Path(forkserver.__file__).parent / "child"
CHAT = [{"role": "user", "content": "hello you"}]
NO_TOKENIZER = "a tokenizer, but skip_tokenizer_init=True skips it"


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
        chat_template: str | None = None,
        **values: Any,
    ) -> Any:
        if not tokenize:
            return "text"
        if chat_template is not None or values:
            return [9, len(chat_template or ""), *(values[name] for name in sorted(values))]
        ids = [token for one in messages for token in (2, *(len(word) for word in one["content"].split()))]
        ids += [3] if add_generation_prompt else []
        return {"input_ids": ids} if return_dict else iter(ids)


def own(prompts: Any, tokenizer: Tokenizer | None = None, **chat: Any) -> Any:
    """A renderer: this tokenizer with these arguments of `LLM.chat`."""
    return lambda messages: prompts.chat_ids(messages, tokenizer or Tokenizer(), chat)


@pytest.mark.parametrize(
    ("request_", "ids"),
    [
        (Request(0, 1, prompt_token_ids=(5, 6)), [5, 6]),
        (Request(0, 1, prompt="hello you"), [1, 5, 3]),
        (Request(0, 1, messages=tuple(CHAT)), [2, 5, 3, 3]),
    ],
)
def test_each_kind_of_request_becomes_token_ids(prompts: Any, request_: Request, ids: list[int]) -> None:
    found = prompts.token_ids(request_.to_wire(), Tokenizer(), own(prompts))
    assert found == ids
    assert isinstance(found, list)  # it goes over the wire


def test_token_ids_need_no_tokenizer(prompts: Any) -> None:
    assert prompts.token_ids({"prompt_token_ids": (5, 6)}, None, own(prompts)) == [5, 6]


@pytest.mark.parametrize("request_", [{"prompt": "hello"}, {"messages": CHAT}])
def test_text_and_chats_need_one(prompts: Any, request_: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^text and chat need {NO_TOKENIZER}$"):
        prompts.token_ids(request_, None, own(prompts))


def test_a_chat_is_rendered_with_its_tokens_as_text(prompts: Any) -> None:
    other = [*CHAT, {"role": "assistant", "content": "yes"}]
    assert prompts.render([CHAT, other], Tokenizer(), own(prompts)) == [
        {"ids": [2, 5, 3, 3], "tokens": ["<2>", "<5>", "<3>", "<3>"]},
        {"ids": [2, 5, 3, 2, 3, 3], "tokens": ["<2>", "<5>", "<3>", "<2>", "<3>", "<3>"]},
    ]


@pytest.mark.parametrize("template", [None, ""])
def test_a_tokenizer_without_template_is_named(prompts: Any, template: str | None) -> None:
    with pytest.raises(ValueError, match=r"^the tokenizer of org/letters has no chat template$"):
        prompts.render([CHAT], Tokenizer(template), own(prompts, Tokenizer(template)))


def test_a_chat_without_a_tokenizer_is_refused(prompts: Any) -> None:
    with pytest.raises(ValueError, match=f"^a chat needs {NO_TOKENIZER}$"):
        prompts.render([CHAT], None, own(prompts))


def test_a_template_of_the_engines_own_takes_the_place_of_the_tokenizers(prompts: Any) -> None:
    assert own(prompts, Tokenizer(), chat_template="{{ x }}")(CHAT) == [9, 7]
    assert own(prompts, Tokenizer(None), chat_template="{{ x }}")(CHAT) == [9, 7]
    assert own(prompts, Tokenizer(), chat_template_kwargs={"enable_thinking": 4})(CHAT) == [9, 0, 4]


def test_values_for_the_template_do_not_change_how_it_is_asked(prompts: Any) -> None:
    values = {"tokenize": False, "return_dict": True, "add_generation_prompt": False}
    assert own(prompts, Tokenizer(), chat_template_kwargs=values)(CHAT) == [2, 5, 3, 3]


def test_a_chat_that_does_not_suit_its_template_is_one_error_with_the_request(prompts: Any) -> None:
    def refuse(messages: list[dict[str, str]]) -> list[int]:
        raise TypeError("roles must alternate")

    request = {"index": 3, "messages": CHAT}
    with pytest.raises(ValueError, match=r"^request 3: the chat cannot be rendered: roles must alternate$"):
        prompts.token_ids(request, Tokenizer(), lambda messages: prompts.rendered(lambda: refuse(messages)))
    with pytest.raises(ValueError, match=r"^the chat cannot be rendered: StopIteration$"):
        prompts.rendered(lambda: next(iter(())))


def test_another_model_renders_by_its_own_template_with_the_engines_values(
    prompts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts, "load_tokenizer", lambda model, trust_remote_code: Tokenizer())
    engine = {"chat_template": "{{ x }}", "chat_template_content_format": "string"}
    assert prompts.render_by("org/other", [CHAT], engine)[0]["ids"] == [2, 5, 3, 3]
    assert prompts.render_by("org/other", [CHAT], {**engine, "chat_template_kwargs": {"a": 5}})[0]["ids"] == [9, 0, 5]


def test_arguments_of_a_chat_are_taken_out_of_the_engines(prompts: Any) -> None:
    chat = {"chat_template_content_format": "openai", "chat_template_kwargs": {"a": 1}}
    engine_args = {"dtype": "half", "chat_template": "{{ x }}", **chat}
    assert prompts.take_chat_arguments(engine_args) == chat
    assert engine_args == {"dtype": "half", "chat_template": "{{ x }}"}
    assert prompts.take_chat_arguments({"chat_template_kwargs": None}) == {}


@pytest.mark.parametrize(
    ("argument", "value", "line"),
    [
        ("chat_template_content_format", "json", "='json' is not valid; choose one of auto, string, openai"),
        ("chat_template_kwargs", ["a"], r"=\['a'\] must map names to values"),
    ],
)
def test_a_value_that_vllm_does_not_have_is_refused(prompts: Any, argument: str, value: Any, line: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument}{line}$"):
        prompts.take_chat_arguments({argument: value})


def test_a_template_is_text_or_a_file(prompts: Any, tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text("{{ messages }}")
    assert prompts.load_template(None) is None
    assert prompts.load_template(str(file)) == "{{ messages }}"
    assert prompts.load_template("{{ x }}") == "{{ x }}"
    assert prompts.load_template("{{ x }}" * 5000) == "{{ x }}" * 5000  # longer than a path may be
    with pytest.raises(ValueError, match=r"^chat_template='no/such.jinja' is neither a template nor a readable file"):
        prompts.load_template("no/such.jinja")


def test_a_template_is_known_by_its_text(prompts: Any) -> None:
    digests = [prompts.template_digest({"chat_template": text})["chat_template"] for text in ("a", "b", "a")]
    assert digests[0] == digests[2] != digests[1]
    assert prompts.template_digest({}) == {}


def test_both_sides_know_the_same_arguments_of_a_chat(prompts: Any) -> None:
    assert prompts.CHAT_ARGUMENTS == arguments.CHAT_ARGUMENTS


@pytest.mark.parametrize("trust", [True, False])
def test_a_tokenizer_is_loaded_with_its_code_only_if_that_is_trusted(
    prompts: Any, monkeypatch: pytest.MonkeyPatch, trust: bool
) -> None:
    class AutoTokenizer:
        @staticmethod
        def from_pretrained(model: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
            return model, arguments

    library = ModuleType("transformers")
    library.__dict__["AutoTokenizer"] = AutoTokenizer
    monkeypatch.setitem(sys.modules, "transformers", library)
    loaded = prompts.load_tokenizer("org/other", trust_remote_code=trust)
    assert loaded == ("org/other", {"trust_remote_code": trust})


def test_another_models_code_is_never_run(prompts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(model: str, *, trust_remote_code: bool) -> None:
        assert trust_remote_code is False
        raise ValueError(f"{model}: pass `trust_remote_code=True`" if model == "org/other" else "no tokenizer")

    monkeypatch.setattr(prompts, "load_tokenizer", load)
    with pytest.raises(
        ValueError, match="the tokenizer of org/other needs code from its repository, which is not executed here; "
    ):
        prompts.render_by("org/other", [CHAT], {})
    with pytest.raises(ValueError, match=r"^no tokenizer$"):
        prompts.render_by("org/none", [CHAT], {})


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
