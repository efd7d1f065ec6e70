"""Chats as vLLM renders them with the engine's own arguments, in workloads and in the guard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf import models
from pytest_vllmperf.comparing.quality import first_difference
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.errors import EngineStartError, WorkloadError
from pytest_vllmperf.records.engine import Sampling
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload

from .conftest import MODEL, quiet

CHAT = [{"role": "user", "content": "hello you"}]
BAD = "{% for message in messages %}BAD {{ message.content }} {{ mood }}{% endfor %}"


def own(engine: Engine) -> tuple[int, ...]:
    return engine.render([CHAT])[0].ids


def prompt_tokens(engine: Engine) -> int:
    """How long the chat is as a request of a workload."""
    return engine.run(Workload.chat([CHAT], output_tokens=2).requests(100), Sampling()).requests[0].prompt_tokens


def test_without_arguments_it_is_the_tokenizers_own(engine: Engine) -> None:
    assert own(engine) == engine.render([CHAT], models.resolve(MODEL))[0].ids
    assert prompt_tokens(engine) == len(own(engine))


@pytest.mark.parametrize("as_file", [False, True])
def test_an_engines_template_renders_its_chats(start: Callable[..., Engine], tmp_path: Path, as_file: bool) -> None:
    (tmp_path / "bad.jinja").write_text(BAD)
    template: Any = tmp_path / "bad.jinja" if as_file else BAD
    engine = start(chat_template=template, chat_template_kwargs={"mood": "gladly"})
    try:
        rendered = engine.render([CHAT])[0]
        assert "".join(rendered.tokens) == "BAD hello you gladly"
        assert prompt_tokens(engine) == len(rendered.ids)
        (right,) = engine.render([CHAT], models.resolve(MODEL))  # what `assert_same_chat_template` does
        assert first_difference(rendered, right) == "token 0 is 37 'B', the reference has 0 '<|begin|>'"
        assert len(engine.facts.resolved["chat_template"]) == 12
    finally:
        engine.close()


def test_a_template_that_refuses_a_chat_is_the_workloads_error(start: Callable[..., Engine]) -> None:
    engine = start(chat_template="{{ raise_exception('no such role') }}")
    try:
        with pytest.raises(WorkloadError, match="request 0: the chat cannot be rendered: no such role"):
            prompt_tokens(engine)
        with pytest.raises(WorkloadError, match="the chat cannot be rendered: no such role"):
            own(engine)
    finally:
        engine.close()


def test_a_template_file_that_does_not_exist_is_refused_in_vllms_words(start: Callable[..., Engine]) -> None:
    with pytest.raises(EngineStartError, match=r"chat template \(nowhere.jinja\) looks like a file path") as caught:
        start(chat_template="nowhere.jinja")
    assert "\n" not in str(caught.value)


def test_the_reference_takes_the_same_template(launcher: Launcher) -> None:
    spec = EngineSpec.create(MODEL, backend="transformers", chat_template=BAD, chat_template_kwargs={"mood": "gladly"})
    engine = launcher.start(spec, {}, quiet)
    try:
        assert "".join(engine.render([CHAT])[0].tokens) == "BAD hello you gladly"
    finally:
        engine.close()
