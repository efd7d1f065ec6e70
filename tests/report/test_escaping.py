"""Any text is harmless where it is shown."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.report.escaping import json_text, markdown, terminal_line, terminal_text, xml

ANY = st.text(alphabet=st.characters(codec=None) | st.sampled_from("\x1b:#[|\\`\n\r\0\x85\u2028\u202e\ud800*<]("))


@pytest.mark.parametrize(("text", "shown"), [
    ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
    ("a\0b\x7f\x9b", r"a\x00b\x7f\x9b"),
    ("a\rb\nc\td", "a\\x0db\\nc\td"),
    ("abc\u202ecba\u2028", r"abc\u202ecba\u2028"),
    ("\udc80", r"\udc80"),
    ("::error::x", r"\x3a:error::x"),
    ("  ::set-output name=a::b", r"  \x3a:set-output name=a::b"),
    ("::: x", r"\x3a:: x"),
    ("##[error]x", r"\x23#[error]x"),
    ("it says ##vso[task.x]", r"it says \x23#vso[task.x]"),
    ("test_a.py::test_b: ## head", "test_a.py::test_b: ## head"),
    ("größer · 5 % → 6", "größer · 5 % → 6"),
])  # fmt: skip
def test_terminal(text: str, shown: str) -> None:
    assert terminal_line(text) == shown
    assert terminal_line(shown) == shown


def test_every_line_of_a_text() -> None:
    assert terminal_text("a\n::error::b\n\x1b") == "a\n\\x3a:error::b\n\\x1b"


@given(ANY)
def test_no_control_character_but_newline_and_tab(text: str) -> None:
    shown = terminal_text(text)
    assert not [sign for sign in shown if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") and sign not in "\n\t"]
    assert shown.count("\n") == text.count("\n")
    for line in re.split(r"[\r\n]", shown):
        assert not line.strip().startswith("::")
        assert not re.search(r"##\w*\[", line)


@pytest.mark.parametrize(("text", "shown"), [
    ("a|b", r"a\|b"),
    ("back\\slash\\|", r"back\\slash\\\|"),
    ("`code`", r"\`code\`"),
    ("two\nlines\r\nthree", "two lines three"),
    ("\x1b", r"\\x1b"),
    ("[a](javascript:b)", r"[a\](javascript:b)"),
    ("<img>", r"\<img>"),
    ("test_a[awq-1.5] 2x [1, 2]", "test_a[awq-1.5] 2x [1, 2]"),
])  # fmt: skip
def test_markdown(text: str, shown: str) -> None:
    assert markdown(text) == shown


@given(st.lists(ANY, min_size=1, max_size=4))
def test_a_table_of_markdown_keeps_its_columns(cells: list[str]) -> None:
    line = "| " + " | ".join(map(markdown, cells)) + " |"
    assert len(line.splitlines()) == 1
    assert len(re.sub(r"\\.", "", line).split("|")) == len(cells) + 2


@given(ANY, ANY)
def test_an_attribute_of_xml_can_be_read(name: str, value: str) -> None:
    node = ET.Element("property", name=xml(name), value=xml(value))
    ET.fromstring(ET.tostring(node, encoding="utf-8"))


def test_xml_shows_what_it_forbids() -> None:
    assert xml("a\0b\x1b\ufffe") == r"a\x00b\x1b\ufffe"


@given(st.recursive(ANY, lambda one: st.lists(one) | st.dictionaries(ANY, one)))
def test_json_is_the_same_and_holds_no_command(value: Any) -> None:
    shown = json_text(json.dumps(value, indent=1))
    assert json.loads(shown) == value
    assert not re.search(r"##\w*\[", shown)
