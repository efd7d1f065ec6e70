"""Calibration prompts: read whole, or refused in one line that names the file and the line at fault."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.calibration.prompts import CalibrationPrompt, read_prompts
from pytest_vllmperf.errors import ModelError

GOOD = '{"prompt": "Hello"}'
USER = {"role": "user", "content": "Is it 漢字?"}
SYSTEM = {"role": "system", "content": ""}
SAID = {"role": "assistant", "content": "Yes."}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file that the property tests write over and over."""
    return tmp_path_factory.mktemp("calibration") / "prompts.jsonl"


def write(path: Path, *lines: str) -> Path:
    path.write_bytes("\n".join(lines).encode())
    return path


def refused(path: Path, samples: int = 1) -> str:
    """The message, which has to be one line that starts with the file."""
    with pytest.raises(ModelError) as caught:
        read_prompts(path, samples)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{path}:")
    return message


def told(*messages: Any) -> CalibrationPrompt:
    return CalibrationPrompt(messages=messages)


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ('{"prompt": "Hello"}', CalibrationPrompt(text="Hello")),
        ('{"text": "Hello"}', CalibrationPrompt(text="Hello")),
        ('  {"text":"two\\n lines "}\r', CalibrationPrompt(text="two\n lines ")),
        ('{"prompt": "\\u6f22字 \\ud83d\\ude00"}', CalibrationPrompt(text="漢字 😀")),
        ('{"id": 7, "prompt": "Hello", "label": null}', CalibrationPrompt(text="Hello")),
        (json.dumps({"messages": [USER]}), told(USER)),
        (json.dumps({"messages": [SYSTEM, USER, SAID]}, ensure_ascii=False), told(SYSTEM, USER, SAID)),
        (json.dumps({"messages": [{**USER, "name": "me"}], "split": "a"}), told({**USER, "name": "me"})),
        (json.dumps({"messages": [USER], "prompt": "the same, rendered"}), told(USER)),
    ],
)
def test_every_accepted_form(line: str, prompt: CalibrationPrompt, tmp_path: Path) -> None:
    assert read_prompts(write(tmp_path / "prompts.jsonl", line), 1) == (prompt,)


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_only_a_newline_ends_a_line(separator: str, tmp_path: Path) -> None:
    """JSON allows the other separators inside of a string as they are."""
    path = write(tmp_path / "prompts.jsonl", json.dumps({"prompt": f"a{separator}b"}, ensure_ascii=False), "[]")
    assert ":2: needs 'messages'" in refused(path)
    write(path, path.read_text(encoding="utf-8").split("\n")[0])
    assert read_prompts(path, 1) == (CalibrationPrompt(text=f"a{separator}b"),)


def test_the_first_ones_are_taken_in_their_order(tmp_path: Path) -> None:
    path = write(tmp_path / "prompts.jsonl", *(f'{{"prompt": "{n}"}}' for n in range(5)))
    for samples in (1, 3, 5):
        assert [prompt.text for prompt in read_prompts(path, samples)] == [str(n) for n in range(samples)]


def test_blank_lines_are_left_out_and_still_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "prompts.jsonl", "", GOOD, "  \t\r", GOOD, "")
    assert read_prompts(path, 2) == (CalibrationPrompt(text="Hello"),) * 2
    assert "2 prompts" in refused(path, 3)
    assert refused(write(path, "", GOOD, " ", "nonsense")).startswith(f"{path}:4: not JSON")


@pytest.mark.parametrize("content", ["", "\n", " \r\n\t\n\n"])
def test_an_empty_file_shows_what_belongs_there(content: str, tmp_path: Path) -> None:
    message = refused(write(tmp_path / "prompts.jsonl", content))
    assert "no calibration prompts" in message
    assert '{"messages": [{"role": "user", "content": "…"}]}' in message


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing.jsonl", "No such file or directory"), (".", "Is a directory"), ("file/below", "Not a directory")],
)
def test_what_cannot_be_read_is_told_with_the_systems_reason(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(GOOD)
    path = tmp_path / name
    assert refused(path) == f"{path}: calibration prompts cannot be read: {reason}"


@pytest.mark.parametrize(
    "line",
    ["nonsense", '{"prompt": "open', "{'prompt': 'single'}", f"{GOOD} {GOOD}", '{"prompt": "a\tb"}', "\ufeff" + GOOD],
)
def test_a_line_that_is_not_json_is_named(line: str, tmp_path: Path) -> None:
    path = write(tmp_path / "prompts.jsonl", GOOD, line, GOOD)
    message = refused(path)
    assert message.startswith(f"{path}:2: not JSON: ")
    assert " at column " in message


@pytest.mark.parametrize(
    "line",
    [pytest.param("[" * 100_000, id="levels"), pytest.param('{"text": "a", "n": ' + "1" * 5000 + "}", id="digits")],
)
def test_json_that_python_does_not_read_is_refused_too(line: str, tmp_path: Path) -> None:
    path = write(tmp_path / "prompts.jsonl", GOOD, line)
    assert refused(path).startswith(f"{path}:2: not valid JSON: ")


def test_messages_of_any_depth_are_read_or_refused(tmp_path: Path) -> None:
    """The parser has room for more levels than what comes after it, so every depth around the limit is tried."""
    path = tmp_path / "prompts.jsonl"
    read = 0
    for depth in range(1, 1101):
        content = "[" * depth + "]" * depth
        write(path, f'{{"messages": [{{"role": "user", "content": {content}}}]}}')
        with suppress(ModelError):
            read += len(read_prompts(path, 1))
    assert read > 100


@pytest.mark.parametrize(
    "line",
    [
        *("{}", "[]", "null", "3", '"Hello"', '["prompt"]', '{"Prompt": "a"}', '{"content": "a"}'),
        *('{"prompt": ""}', '{"text": " \\n"}', '{"prompt": 3}', '{"prompt": null}', '{"text": ["a"]}'),
        '{"prompt": "a", "text": "b"}',
    ],
)
def test_a_line_without_a_prompt_is_named(line: str, tmp_path: Path) -> None:
    path = write(tmp_path / "prompts.jsonl", GOOD, "", line)
    assert refused(path).startswith(f"{path}:3: needs 'messages', 'prompt' or 'text', such as ")


@pytest.mark.parametrize(
    "messages",
    [[], {}, None, "Hello", 3, ["Hello"], [[USER]], [{"role": "user"}], [{"content": "a"}], [USER, {}], [USER, None]],
)
def test_messages_that_are_no_chat_are_named(messages: Any, tmp_path: Path) -> None:
    """A prompt beside them does not stand in."""
    path = write(tmp_path / "prompts.jsonl", GOOD, json.dumps({"messages": messages, "prompt": "Hello"}))
    assert refused(path) == f"{path}:2: messages must be a list of messages with 'role' and 'content'"


def test_a_bad_line_is_refused_though_enough_come_before_it(tmp_path: Path) -> None:
    assert ":3: not JSON" in refused(write(tmp_path / "prompts.jsonl", GOOD, GOOD, "{"), 1)


def test_too_few_prompts_say_how_many_and_how_many_were_wanted(tmp_path: Path) -> None:
    path = write(tmp_path / "prompts.jsonl", GOOD, "", GOOD, GOOD)
    assert refused(path, 128).startswith(f"{path}: 3 prompts, but --samples asks for 128; ")
    assert len(read_prompts(path, 3)) == 3


def test_a_file_that_is_not_text_is_refused_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(GOOD.encode() + b"\n\xff\xfe")
    assert refused(path) == f"{path}: not UTF-8 text (byte {len(GOOD) + 1}); write JSON lines in UTF-8"


@pytest.mark.parametrize("samples", [0, -1])
def test_less_than_one_sample_is_refused(samples: int, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        read_prompts(write(tmp_path / "prompts.jsonl", GOOD), samples)
    assert str(caught.value) == f"--samples {samples} must be at least 1"


words = st.text(st.characters(codec="utf-8"))
chats = st.lists(st.fixed_dictionaries({"role": words, "content": words}), min_size=1, max_size=3)
prompts = st.one_of(
    words.filter(str.strip).map(lambda text: CalibrationPrompt(text=text)),
    chats.map(lambda chat: CalibrationPrompt(messages=tuple(chat))),
)
blank = st.sampled_from(["", " ", "\t\r"])
faulty = st.sampled_from(["{", "nonsense", "[]", "{}", '{"prompt": 1}', '{"messages": []}', '{"text": NaN}'])


def line_of(prompt: CalibrationPrompt, name: str, plain: bool) -> str:
    content = {name: prompt.text} if prompt.messages is None else {"messages": prompt.messages}
    return json.dumps(content, ensure_ascii=plain)


@given(
    entries=st.lists(st.one_of(prompts, blank, faulty), max_size=8),
    name=st.sampled_from(["prompt", "text"]),
    plain=st.booleans(),
    samples=st.integers(1, 6),
)
def test_the_wanted_prompts_come_back_or_the_first_fault_is_named(
    written: Path, entries: list[str | CalibrationPrompt], name: str, plain: bool, samples: int
) -> None:
    write(written, *(entry if isinstance(entry, str) else line_of(entry, name, plain) for entry in entries))
    faults = [number for number, entry in enumerate(entries, 1) if isinstance(entry, str) and entry.strip()]
    expected = [entry for entry in entries if isinstance(entry, CalibrationPrompt)]
    if faults:
        assert refused(written, samples).startswith(f"{written}:{faults[0]}: ")
    elif len(expected) < samples:
        assert refused(written, samples).startswith(f"{written}: {len(expected) or 'no calibration'} prompts")
    else:
        assert read_prompts(written, samples) == tuple(expected[:samples])


pieces = [
    '{"prompt": "',
    '{"messages": [{"role": "user", "content": ',
    '"}',
    "}]}",
    "\n",
    "\r",
    "[",
    '"',
    "\\ud800",
    "9e999",
]


@given(st.lists(st.one_of(st.sampled_from(pieces).map(str.encode), st.binary(max_size=4)), max_size=12).map(b"".join))
def test_whatever_the_bytes_it_is_prompts_or_one_line(written: Path, content: bytes) -> None:
    written.write_bytes(content)
    try:
        (prompt,) = read_prompts(written, 1)
    except ModelError:
        refused(written)
    else:
        assert (prompt.text is None) != (prompt.messages is None)
