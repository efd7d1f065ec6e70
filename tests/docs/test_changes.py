"""Fragments of the changelog are well-formed: towncrier reads their names, this their texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

FOLDER = ROOT / "changes"
TYPES = ("added", "changed", "fixed", "removed")
NAME = re.compile(rf"(\d+|\+[\w.-]+)\.({'|'.join(TYPES)})\.md")
LINE = 120


def wrong(name: str, text: str) -> Iterator[str]:
    """What is wrong with a fragment."""
    if not NAME.fullmatch(name):
        yield f"its name is neither NUMBER.TYPE.md nor +WORDS.TYPE.md, where TYPE is one of {', '.join(TYPES)}"
    if not text.strip().endswith((".", ").", "`.")):
        yield "it does not end with a full stop"
    if re.match(r"\s*([#*-]|\d+\.)\s", text):
        yield "it begins with a heading or a list sign"
    if any(len(line) > LINE for line in text.splitlines()):
        yield f"a line is longer than {LINE} characters"
    for link in re.findall(r"\]\(([^)\s#]+)", text):
        if not link.startswith("http") and not (ROOT / link).exists():
            yield f"{link} does not exist"


def test_every_fragment_is_well_formed() -> None:
    fragments = [one for one in FOLDER.iterdir() if one.name not in ("README.md", "template.md")]
    found = {one.name: list(wrong(one.name, one.read_text(encoding="utf-8"))) for one in fragments}
    assert {name: words for name, words in found.items() if words} == {}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("17.addded.md", "A thing.", "its name"),
        ("report.added.md", "A thing.", "its name"),
        ("17.added.md", "", "full stop"),
        ("17.added.md", "A thing", "full stop"),
        ("17.added.md", "- A thing.", "list sign"),
        ("+a.fixed.md", "x" * 121 + ".", "longer"),
        ("+a.fixed.md", "See [this](docs/nope.md).", "docs/nope.md does not exist"),
    ],
)
def test_a_fragment_that_is_not_is_found(name: str, text: str, said: str) -> None:
    (found,) = wrong(name, text)
    assert said in found


@pytest.mark.parametrize("name", ["17.added.md", "+report-page.removed.md", "+a.b.fixed.md"])
def test_a_sound_one_has_nothing_wrong(name: str) -> None:
    assert list(wrong(name, "A thing ([docs/options.md](docs/options.md)).\n")) == []


def test_the_types_are_those_of_the_configuration() -> None:
    text = Path(ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert sorted(re.findall(r'^directory = "(added|changed|fixed|removed)"$', text, re.MULTILINE)) == sorted(TYPES)
    assert len(re.findall(r"\[\[tool\.towncrier\.type\]\]", text)) == len(TYPES)
