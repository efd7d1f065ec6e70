"""ShareGPT files and conversations: turns with their recorded history."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.workload import Request, Workload

Write = Callable[..., Path]
Refused = Callable[..., str]


def said(*turns: str) -> dict[str, Any]:
    """A conversation of ShareGPT's form: `human: hello`."""
    pairs = (turn.split(": ", 1) for turn in turns)
    return {"id": "x", "conversations": [{"from": who, "value": text} for who, text in pairs]}


TALKS = [
    said("human: hello", "gpt: 12345678", "human: and then?", "gpt: 123456789"),
    said("gpt: left over", "system: be brief", "user: why", "chatgpt: so"),
    said("human: last"),
]


def contents(request: Request) -> list[str]:
    return [f"{message['role']}: {message['content']}" for message in request.messages or ()]


def test_sharegpt_is_the_first_turn_of_each_conversation(write: Write) -> None:
    made = Workload.sharegpt(write("chats.json", TALKS), output_tokens=9).requests(0)
    assert [contents(request) for request in made] == [
        ["user: hello"],
        ["system: be brief", "user: why"],
        ["user: last"],
    ]
    assert {request.output_tokens for request in made} == {9}
    assert {request.after for request in made} == {None}


def test_the_length_of_the_recorded_answer_is_a_token_for_four_characters(write: Write) -> None:
    talks = [said("human: a", f"gpt: {'x' * length}") for length in (0, 1, 4, 5, 400)]
    made = Workload.sharegpt(write("chats.json", talks)).requests(0)
    assert [request.output_tokens for request in made] == [1, 1, 1, 2, 100]


def test_conversations_without_a_recorded_answer_are_left_out_where_it_tells_the_length(
    write: Write, refused: Refused
) -> None:
    path = write("chats.json", TALKS)
    assert Workload.sharegpt(path).count == 2
    assert refused(Workload.sharegpt, path, requests=3) == "chats.json holds 2 requests, fewer than requests=3"


def test_the_first_requests_are_taken(write: Write) -> None:
    path = write("chats.json", TALKS)
    one = Workload.sharegpt(path, requests=1, concurrency=3, seed=4, temperature=0.5, ignore_eos=False)
    assert one.count == 1
    assert (one.concurrency, one.seed, one.temperature, one.ignore_eos) == (3, 4, 0.5, False)
    assert not one.needs_server


def test_a_conversation_has_the_recorded_answers_as_its_history(write: Write) -> None:
    workload = Workload.conversations(write("chats.json", TALKS))
    made = workload.requests(0)
    assert [contents(request) for request in made] == [
        ["user: hello"],
        ["user: hello", "assistant: 12345678", "user: and then?"],
        ["system: be brief", "user: why"],
    ]
    assert [request.after for request in made] == [None, 0, None]
    assert [request.output_tokens for request in made] == [2, 3, 1]
    assert [request.index for request in made] == [0, 1, 2]
    assert (workload.kind, workload.describe()["conversations"]) == ("conversations", 2)


def test_a_long_conversation_builds_up() -> None:
    talk = [{"role": role, "content": f"{role} {turn}"} for turn in range(50) for role in ("user", "assistant")]
    made = Workload.conversations([talk, talk], output_tokens=1).requests(0)
    assert [len(request.messages or ()) for request in made] == [2 * turn + 1 for turn in range(50)] * 2
    assert [request.after for request in made[49:52]] == [48, None, 50]
    assert list(made[49].messages or ()) == talk[:-1]


def test_what_a_person_writes_in_two_messages_is_one_turn() -> None:
    talk = [{"role": "user", "content": text} for text in ("one", "two")]
    (request,) = Workload.conversations([talk], output_tokens=1).requests(0)
    assert contents(request) == ["user: one", "user: two"]


def test_requests_count_turns_and_may_cut_a_conversation() -> None:
    workload = Workload.conversations(TALKS, requests=2, output_tokens=4)
    assert [request.after for request in workload.requests(0)] == [None, 0]


def test_a_list_a_file_and_lines_of_the_same_conversations_are_one_workload(write: Write) -> None:
    as_messages = [
        {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes"}]},
        {"messages": [{"content": "why", "role": "user"}, {"role": "assistant", "content": "so"}]},
    ]
    as_sharegpt = [said("human: hello", "gpt: yes"), said("human: why", "gpt: so")]
    sources = [as_sharegpt, as_messages, write("a.json", as_sharegpt), write("b.jsonl", lines=as_messages)]
    assert len({Workload.conversations(source).key for source in sources}) == 1


def test_the_content_decides_the_key(write: Write) -> None:
    key = Workload.sharegpt(write("a.json", TALKS)).key
    assert Workload.sharegpt(write("deep/b.json", TALKS)).key == key
    changed = [said("human: hello!", "gpt: 12345678"), *TALKS[1:]]
    assert Workload.sharegpt(write("a.json", changed)).key != key


def test_another_recorded_answer_is_another_history() -> None:
    other = [said("human: hello", "gpt: 1234567_", "human: and then?", "gpt: 123456789"), *TALKS[1:]]
    assert Workload.conversations(other).key != Workload.conversations(TALKS).key


def test_a_byte_order_mark_is_no_fault(write: Write) -> None:
    assert Workload.sharegpt(write("a.json", b"\xef\xbb\xbf[" + b'{"messages": [{"role": "user", "content": "x"}]}]'),
                             output_tokens=1).count == 1  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "chats.json: not JSON"),
        (b"[", "chats.json: not JSON"),
        (b'[\n{"conversations": [}\n]', "chats.json: not JSON: Expecting value (line 2, column 20)"),
        (b'["\xff"]', "chats.json: not UTF-8 text (byte 0xff)"),
        (b'[\n\n"\xff"]', "chats.json: not UTF-8 text (byte 0xff in line 3)"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "chats.json holds no usable request"),
        (b"7", "chats.json must be a list of conversations, not 7"),
        ([said("gpt: only an answer")], "holds no usable request in 1 conversations"),
        ([[]], "holds no usable request"),
        ([7], "chats.json, conversation 0: must be a list of messages, not 7"),
        (["hello"], "conversation 0: must be a list of messages, not 'hello'"),
        ([{}], "conversation 0: must have 'conversations' or 'messages', but has nothing"),
        ([{"turns": []}], "but has 'turns'"),
        ([said("human: x"), {"messages": [{"role": "user"}]}], "conversation 1: message 0 must have"),
        ([{"messages": [{"role": "user", "content": None}]}], "message 0 must have text"),
        ([said("human: \ud800", "gpt: x")], "half of a surrogate pair, \\ud800"),
        ([7, said("human: x", "gpt: y"), 8, 9], "3 of 4 conversations cannot be used (conversations 0, 2, 3);"),
    ],
)
def test_files_that_cannot_be_used_are_refused(content: Any, words: str, write: Write, refused: Refused) -> None:
    path = write("chats.json", content)
    assert words in refused(Workload.sharegpt, path)
    assert words in refused(Workload.conversations, path)


def test_conversations_from_a_list_are_refused_alike(refused: Refused) -> None:
    assert refused(Workload.conversations, []) == "conversations holds no usable request"
    assert "conversations, conversation 1: must be" in refused(Workload.conversations, [TALKS[0], 7])
    assert "source=7 must be the path of a file" in refused(Workload.conversations, 7)


@pytest.mark.parametrize("name", ["requests", "output_tokens", "concurrency"])
@pytest.mark.parametrize("value", [0, 1.5, True, "3"])
def test_counts_are_whole_numbers(name: str, value: Any, refused: Refused) -> None:
    for make in (Workload.conversations, Workload.sharegpt):
        assert f"{name}={value!r}" in refused(make, TALKS, **{name: value})


def test_files_that_are_none_are_refused(write: Write, folder: Path, refused: Refused) -> None:
    assert refused(Workload.sharegpt, "chats.json") == f"chats.json: no such file in {folder}"
    assert refused(Workload.sharegpt, "/nowhere/chats.json") == "no file /nowhere/chats.json"
    assert refused(Workload.sharegpt, folder) == f"{folder} is a folder, not a file"
    assert refused(Workload.sharegpt, "/dev/null") == "/dev/null is not a regular file"
    assert "path=None must be the path of a file" in refused(Workload.sharegpt, None)
    assert "path='' must be" in refused(Workload.sharegpt, "")
    assert "path=b'chats.json' must be" in refused(Workload.sharegpt, b"chats.json")
    assert "'a\\x00b'" in refused(Workload.sharegpt, "a\0b")
    assert "'a\\nb': no such file" in refused(Workload.sharegpt, "a\nb")
