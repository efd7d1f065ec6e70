"""Ids of tests and checks: whatever stands in a parameter, they are read as they were written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.records import ids
from pytest_vllmperf.records.ids import CheckId, TestId

modules = st.from_regex(r"([a-zA-Zäß_]{1,8}/){0,3}test_[a-z]{0,6}\.py", fullmatch=True)
functions = st.from_regex(r"(Test[A-Z]{1,3}::)?test_[a-zé_]{0,8}", fullmatch=True)
parameters = st.lists(st.sampled_from(["a", "::", "/", " # ", "]", "[", "#", " ", "好", "\\u597d", "-"]), max_size=8)
names = st.builds(lambda function, parts: f"{function}[{''.join(parts)}]" if parts else function, functions, parameters)
own_names = st.text(st.sampled_from("ab #[:/é"), max_size=6).filter(lambda own: " # " not in own)


@given(modules, names)
def test_a_node_id_is_module_and_name(module: str, name: str) -> None:
    assert TestId.parse(f"{module}::{name}") == TestId(module, name)
    assert str(TestId(module, name)) == f"{module}::{name}"


def test_a_file_that_is_a_test_has_no_name() -> None:
    assert TestId.parse("tests/chat.yaml") == TestId("tests/chat.yaml", "")
    assert str(TestId("tests/chat.yaml", "")) == "tests/chat.yaml"
    assert CheckId(TestId("tests/chat.yaml", ""), "2").name == "tests/chat.yaml # 2"


@given(modules, names, own_names)
def test_a_name_in_a_baseline_file_is_test_and_check(module: str, name: str, own: str) -> None:
    check = CheckId(TestId(module, name), own)
    assert CheckId.parse(module, check.name) == check


@pytest.mark.parametrize(
    ("name", "test", "own"),
    [
        ("test_chat", "test_chat", ""),
        ("test_chat # long", "test_chat", "long"),
        ("test_chat[a # b]", "test_chat[a # b]", ""),
        ("test_chat[a::b/c # d] # 2", "test_chat[a::b/c # d]", "2"),
        ("TestChat::test_chat[x]y] # a#b", "TestChat::test_chat[x]y]", "a#b"),
    ],
)
def test_what_belongs_to_the_test_and_what_to_the_check(name: str, test: str, own: str) -> None:
    assert CheckId.parse("m.py", name) == CheckId(TestId("m.py", test), own)


@pytest.mark.parametrize("text", ["test_a", "test_\udcff[\ud800]", "test_é\U0001f600", "C:\\udir"])
def test_what_is_no_unicode_is_escaped_and_can_be_had_back(text: str) -> None:
    escaped = ids.writable(text)
    assert escaped.encode("utf-8")
    assert ids.writable(escaped) == escaped
    assert ids.raw(escaped) == text
    assert TestId.parse(f"{text}::{text}") == TestId(escaped, escaped)
    assert CheckId(TestId("m.py", "t"), text).name == f"t # {escaped}"


@pytest.mark.parametrize(
    ("module", "stem"), [("tests/test_chat.py", "tests/test_chat"), ("test_a.b.py", "test_a.b"), ("", "")]
)
def test_the_stem_of_a_module(module: str, stem: str) -> None:
    assert ids.module_stem(module) == stem
