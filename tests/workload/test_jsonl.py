"""JSON lines: a prompt, token ids or messages a line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.workload import Workload

Write = Callable[..., Path]
Refused = Callable[..., str]

CHAT = [{"role": "user", "content": "hello"}]


def test_each_form_becomes_its_request(write: Write) -> None:
    path = write(
        "p.jsonl",
        lines=[
            {"prompt": "one: two", "output_tokens": 3},
            "",
            {"prompt_token_ids": [5, 6], "max_tokens": 4},
            {"messages": CHAT, "max_completion_tokens": 5, "id": "ignored"},
        ],
    )
    workload = Workload.jsonl(path)
    made = workload.requests(10)
    assert [request.to_wire() for request in made] == [
        {"index": 0, "output_tokens": 3, "prompt": "one: two"},
        {"index": 1, "output_tokens": 4, "prompt_token_ids": (5, 6)},
        {"index": 2, "output_tokens": 5, "messages": tuple(CHAT)},
    ]
    assert workload.kind == "mixed"
    assert workload.describe()["output_tokens"] == (3, 5)
    assert "output_lengths" not in workload.describe()
    assert not workload.needs_server


def test_files_of_one_form_are_the_workload_of_such_a_list(write: Write) -> None:
    prompts = write("p.jsonl", lines=['"one"', {"prompt": "two"}])
    assert Workload.jsonl(prompts, output_tokens=3) == Workload.prompts(["one", "two"], output_tokens=3)
    chats = write("c.jsonl", lines=[{"messages": CHAT, "output_tokens": 3}] * 2)
    assert Workload.jsonl(chats) == Workload.chat([CHAT, CHAT], output_tokens=3)


def test_what_the_caller_asks_for_outranks_the_file(write: Write) -> None:
    path = write("p.jsonl", lines=[{"prompt": "one", "output_tokens": 3}])
    assert Workload.jsonl(path, output_tokens=8).requests(0)[0].output_tokens == 8


def test_settings_reach_the_workload(write: Write) -> None:
    path = write("p.jsonl", lines=['"a"', '"b"'])
    made = Workload.jsonl(path, output_tokens=1, concurrency=2, seed=3, temperature=0.5, ignore_eos=False)
    assert (made.concurrency, made.seed, made.temperature, made.ignore_eos) == (2, 3, 0.5, False)


def test_output_lengths_of_single_requests_are_in_the_key(write: Write) -> None:
    def key(*lengths: int) -> str:
        lines = [{"prompt": "x", "output_tokens": length} for length in lengths]
        return Workload.jsonl(write("p.jsonl", lines=lines)).key

    assert len({key(1, 2, 3), key(1, 1, 3), key(3, 1, 1), key(3, 3, 3)}) == 4


def test_the_content_decides_the_key(write: Write) -> None:
    lines = [{"prompt": "größe", "output_tokens": 3}]
    plain = Workload.jsonl(write("p.jsonl", lines=lines))
    escaped = write("deep/q.jsonl", '\ufeff\r\n{ "output_tokens":3,"prompt":"gr\\u00f6\\u00dfe"}\r\n\r\n')
    assert Workload.jsonl(escaped).key == plain.key


def test_nothing_behind_the_last_request_is_read(write: Write, refused: Refused) -> None:
    path = write("p.jsonl", lines=['"a"', '"b"', "broken"])
    assert Workload.jsonl(path, requests=2, output_tokens=1).count == 2
    assert "line 3" in refused(Workload.jsonl, path, requests=3, output_tokens=1)


def test_unicode_line_separators_do_not_end_a_line(write: Write) -> None:
    path = write("p.jsonl", '"one\u2028two\u0085three"\n')
    assert Workload.jsonl(path, output_tokens=1).requests(0)[0].prompt == "one\u2028two\u0085three"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "p.jsonl, line 2: not JSON: Expecting property name"),
        ("hello", "line 2: not JSON: Expecting value (column 1)"),
        ('{"prompt": NaN}', "line 2: not JSON: NaN is not a JSON number"),
        ("[" * 200_000, "nested too deeply"),
        ("9" * 5_000, "line 2: "),
        ("7", "must be an object or a text, not 7"),
        ("{}", "but has nothing"),
        ('{"text": "x"}', "but has 'text'"),
        ('{"promt": "x"}', "but has 'promt'; did you mean 'prompt'?"),
        ('{"prompt": "x", "messages": []}', "but has prompt and messages"),
        ('{"prompt": "x"}', "does not say how many tokens to generate"),
        ('"x"', "does not say how many tokens to generate"),
        ('{"prompt": "x", "output_tokens": 0}', "output_tokens=0 must be"),
        ('{"prompt": "x", "max_tokens": 2.0}', "max_tokens=2.0 must be"),
        ('{"prompt": "x", "max_tokens": true}', "max_tokens=True must be"),
        ('{"prompt": "", "output_tokens": 1}', "'prompt' must be a non-empty string, not ''"),
        ('{"prompt": [1], "output_tokens": 1}', "'prompt' must be a non-empty string, not [1]"),
        ('{"prompt_token_ids": [], "output_tokens": 1}', "token ids must be a list"),
        ('{"prompt_token_ids": [1, -1], "output_tokens": 1}', "token ids must be a list"),
        ('{"prompt_token_ids": [true], "output_tokens": 1}', "token ids must be a list"),
        ('{"prompt_token_ids": "12", "output_tokens": 1}', "token ids must be a list"),
        ('{"messages": ["x"], "output_tokens": 1}', "messages must be a list of messages with 'role' and 'content'"),
        ('{"prompt": "\\udc00", "output_tokens": 1}', "half of a surrogate pair, \\udc00"),
    ],
)
def test_broken_lines_are_refused(line: str, words: str, write: Write, refused: Refused) -> None:
    path = write("p.jsonl", lines=['{"prompt": "sound", "output_tokens": 1}', line])
    found = refused(Workload.jsonl, path)
    assert found.startswith("p.jsonl, line 2: ")
    assert words in found


def test_bytes_that_are_no_text_are_refused_with_their_line(write: Write, refused: Refused) -> None:
    path = write("p.jsonl", '"grün"\n'.encode() + '"grün"\n'.encode("latin-1"))
    assert refused(Workload.jsonl, path, output_tokens=1) == "p.jsonl, line 2: not UTF-8 text (byte 0xfc)"


def test_many_broken_lines_are_counted_and_the_first_are_named(write: Write, refused: Refused) -> None:
    path = write("p.jsonl", lines=['"a"', *['""', ""] * 7, '"b"'])
    assert refused(Workload.jsonl, path, output_tokens=1) == (
        "p.jsonl: 7 of 9 lines cannot be used (lines 2, 4, 6, 8, 10, ...); "
        "line 2: a prompt must be a non-empty string, not ''"
    )


def test_an_empty_file_is_refused(write: Write, refused: Refused) -> None:
    for content in (b"", b"\n \n"):
        assert refused(Workload.jsonl, write("p.jsonl", content)) == "p.jsonl holds no usable request"


def test_fewer_requests_than_asked_for_are_refused(write: Write, refused: Refused) -> None:
    path = write("p.jsonl", lines=['"a"', '"b"'])
    assert (
        refused(Workload.jsonl, path, requests=5, output_tokens=1) == "p.jsonl holds 2 requests, fewer than requests=5"
    )


def test_token_ids_that_the_model_does_not_have_are_refused(write: Write, refused: Refused) -> None:
    workload = Workload.jsonl(write("p.jsonl", lines=[{"prompt_token_ids": [1, 9]}]), output_tokens=1)
    assert workload.requests(10)[0].prompt_token_ids == (1, 9)
    assert "request 0 has the token id 9, but the model's vocabulary ends at 8" in refused(workload.requests, 9)


@pytest.mark.parametrize("name", ["requests", "output_tokens", "concurrency"])
@pytest.mark.parametrize("value", [0, 1.5, True, "3"])
def test_counts_are_whole_numbers(name: str, value: Any, write: Write, refused: Refused) -> None:
    arguments: dict[str, Any] = {"output_tokens": 1, name: value}
    assert f"{name}={value!r}" in refused(Workload.jsonl, write("p.jsonl", lines=['"a"']), **arguments)
