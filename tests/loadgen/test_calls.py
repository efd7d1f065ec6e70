"""`calls`: HTTP requests as a server takes them, parsed back by a parser of requests."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httptools
import pytest

from pytest_vllmperf.errors import SpecError, WorkloadError
from pytest_vllmperf.loadgen.calls import Address, calls
from pytest_vllmperf.loadgen.job import Api, Call, Server
from pytest_vllmperf.records.engine import Sampling
from pytest_vllmperf.workload import Asked, Request

ADDRESS = Address(Server("127.0.0.1", 8000), "m", api_key="sk-1")
TOKENS = Request(0, 16, prompt_token_ids=(1, 2, 3))
TEXT = Request(1, 8, prompt="Hello")
CHAT = Request(2, 4, messages=({"role": "user", "content": "Hi"},), after=1)
FREE = Sampling(ignore_eos=False, temperature=0.5, seed=9)


class Parsed:
    """A request as a server sees it."""

    def __init__(self, call: Call) -> None:
        self.headers: dict[str, str] = {}
        self.url, self.content, self.whole = b"", b"", False
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(call.head + call.body)
        assert self.whole
        assert parser.get_method() == b"POST"
        self.body: dict[str, Any] = json.loads(self.content)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        assert name.decode() not in self.headers
        self.headers[name.decode()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.content += body

    def on_message_complete(self) -> None:
        self.whole = True


def one(request: Request, address: Address = ADDRESS, sampling: Sampling = FREE, *, stream: bool = True) -> Parsed:
    (call,) = calls([request], address, sampling, None, stream=stream)
    return Parsed(call)


def test_a_call_for_each_kind_of_input() -> None:
    made = calls([TOKENS, TEXT, CHAT], ADDRESS, FREE, (0, 5, 9))
    assert [call.api for call in made] == [Api.COMPLETIONS, Api.COMPLETIONS, Api.CHAT]
    assert [(call.index, call.due_ns, call.after, call.output_tokens) for call in made] == [
        (0, 0, None, 16),
        (1, 5, None, 8),
        (2, 9, 1, 4),
    ]
    parsed = [Parsed(call) for call in made]
    assert [each.url for each in parsed] == [b"/v1/completions", b"/v1/completions", b"/v1/chat/completions"]
    assert parsed[0].body == {
        "model": "m",
        "prompt": [1, 2, 3],
        "max_tokens": 16,
        "temperature": 0.5,
        "seed": 9,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert parsed[1].body["prompt"] == "Hello"
    assert parsed[2].body["messages"] == [{"role": "user", "content": "Hi"}]
    assert not any(call.keep for call in made)


def test_the_head_says_what_is_sent_and_wanted() -> None:
    parsed = one(TEXT)
    assert parsed.headers.pop("Content-Length") == str(len(parsed.content))
    assert parsed.headers == {
        "Host": "127.0.0.1:8000",
        "User-Agent": "pytest-vllmperf",
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "Connection": "keep-alive",
        "Authorization": "Bearer sk-1",
    }
    other = one(TEXT, replace(ADDRESS, api_key=None, keep_alive=False), stream=False)
    assert "Authorization" not in other.headers
    assert (other.headers["Connection"], other.headers["Accept"]) == ("close", "application/json")
    assert other.body["stream"] is False
    assert "stream_options" not in other.body


@pytest.mark.parametrize(
    ("server", "host"),
    [
        (Server("example.com", 80), "example.com"),
        (Server("example.com", 443), "example.com:443"),
        (Server("example.com", 443, tls=True), "example.com"),
        (Server("::1", 8000), "[::1]:8000"),
        (Server("fe80::1%eth0", 80), "[fe80::1]"),
    ],
)
def test_the_host_of_a_head(server: Server, host: str) -> None:
    assert one(TEXT, replace(ADDRESS, server=server)).headers["Host"] == host


def test_a_base_is_the_path_in_front() -> None:
    assert one(CHAT, replace(ADDRESS, server=Server("h", 80, base="/api/v1/"))).url == b"/api/v1/chat/completions"


def test_an_output_of_exact_length_is_asked_of_vllm_only() -> None:
    body = one(TOKENS, sampling=Sampling()).body
    assert (body["max_tokens"], body["min_tokens"], body["ignore_eos"]) == (16, 16, True)
    plain = one(TOKENS, replace(ADDRESS, vllm=False), Sampling()).body
    assert plain["max_tokens"] == 16
    assert not {"min_tokens", "ignore_eos"} & set(plain)


def test_what_a_request_asks_besides() -> None:
    asked = Asked(json_schema='{"type": "object"}', tools='[{"type": "function"}]', logprobs=2, model="lora")
    (call,) = calls([replace(CHAT, asked=asked)], ADDRESS, FREE, None)
    body = Parsed(call).body
    assert call.keep
    assert body["model"] == "lora"
    wanted = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    assert body["response_format"] == {"type": "json_schema", "json_schema": wanted}
    assert body["tools"] == [{"type": "function"}]
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    assert one(replace(TEXT, asked=Asked(logprobs=0))).body["logprobs"] == 0


def test_extra_fields_win_but_for_what_is_measured() -> None:
    body = one(TEXT, replace(ADDRESS, extra={"return_token_ids": True, "seed": None})).body
    assert (body["return_token_ids"], body["seed"]) == (True, None)
    for name in ("model", "stream", "prompt", "messages"):
        with pytest.raises(SpecError, match=f"'{name}' is set by the workload"):
            one(TEXT, replace(ADDRESS, extra={name: 1}))


@pytest.mark.parametrize("evil", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\x00b", "sk b", "", "\u00e4"])
def test_a_key_cannot_become_another_header(evil: str) -> None:
    with pytest.raises(SpecError, match="API key") as caught:
        one(TEXT, replace(ADDRESS, api_key=evil))
    assert not evil or evil not in str(caught.value)


@pytest.mark.parametrize("evil", ["m\r\nX-Evil: 1", "m\x00", ""])
def test_a_model_of_control_characters_is_refused(evil: str) -> None:
    with pytest.raises(SpecError, match="is empty or has control characters"):
        one(TEXT, replace(ADDRESS, model=evil))
    if evil:
        with pytest.raises(SpecError, match="control characters"):
            one(replace(TEXT, asked=Asked(model=evil)))


@pytest.mark.parametrize("server", [Server("h\r\nX: 1", 80), Server("h", 80, base="/v1 HTTP/1.1\r\nX: 1\r\n")])
def test_an_address_cannot_become_another_header(server: Server) -> None:
    with pytest.raises(SpecError, match="visible ASCII"):
        one(TEXT, replace(ADDRESS, server=server))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (replace(TEXT, prompt="\ud800"), "request 1 cannot be written as JSON"),
        (replace(TEXT, asked=Asked(json_schema="{")), "request 1: its json_schema is not JSON"),
        (replace(TEXT, asked=Asked(tools="[]")), "only chats can call tools"),
    ],
)
def test_what_cannot_be_sent_is_an_error_of_the_workload(request_: Request, words: str) -> None:
    with pytest.raises(WorkloadError, match=words):
        one(request_)


def test_a_schedule_has_a_time_for_each_request() -> None:
    with pytest.raises(WorkloadError, match="a schedule of 1 times for 2 requests"):
        calls([TEXT, CHAT], ADDRESS, FREE, (0,))


def test_neither_key_nor_head_is_shown() -> None:
    (call,) = calls([TEXT], ADDRESS, FREE, None)
    assert "sk-1" not in repr(call) + repr(ADDRESS)


def test_an_image_is_sent_as_the_part_that_it_is() -> None:
    parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}, {"type": "text", "text": "?"}]
    body = one(Request(0, 4, messages=({"role": "user", "content": parts},))).body
    assert body["messages"] == [{"role": "user", "content": parts}]
