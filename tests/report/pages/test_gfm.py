"""Any text is harmless in Markdown, as GitHub's own library renders it, and reads as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.report.escaping import terminal_line, terminal_text
from pytest_vllmperf.report.pages import gfm
from tests.report.pages.rendered import rendered

SIGNS = "`|\\<>&*_~[]()!#@$:-+= \n\r\t\x1b\x00\u2028\u202e\ud800"
ANY = st.text(alphabet=st.characters(codec=None) | st.sampled_from(SIGNS), max_size=60)
NASTY = (
    "@everyone",
    "#123",
    "org/repo#5 0123456789abcdef0123456789abcdef01234567",
    "https://example.com www.example.com a@example.com",
    "[link](javascript:alert(1)) ![image](x) [ref]: x",
    "<img src=x onerror=alert(1)><!-- comment -->",
    "</code></td></details>",
    "a | b || c \\| d \\\\| e",
    "``` fence ````",
    "`",
    "``",
    " `x` ",
    "\\",
    "$`math`$ :smile: ~~gone~~ **bold** _it_",
    "&amp; &#64; &lt;",
    "| --- |\n# head\n- item\n> quote",
)


def shown(text: str) -> str:
    return terminal_line(text).replace("\t", r"\t")


@pytest.mark.parametrize("text", NASTY)
def test_a_name_in_a_line(text: str) -> None:
    found = rendered(f"a {gfm.code(text)} b\n")
    assert found.tags == {"p", "code"}
    assert found.code == [shown(text)]


@given(ANY)
def test_any_name_in_a_line(text: str) -> None:
    found = rendered(f"a {gfm.code(text)} b\n")
    assert found.tags - {"code"} == {"p"}
    assert found.code == [shown(text)] * bool(text)
    assert not found.comments


@pytest.mark.parametrize("text", NASTY)
def test_a_name_in_a_table(text: str) -> None:
    table = f"{gfm.head(['one', 'two', 'three'])}\n{gfm.row(['x', gfm.cell(text), 'z'])}\n"
    found = rendered(table)
    assert found.rows[1] == ["x", shown(text).replace(r"\|", r"\\x7c"), "z"]


@given(ANY, ANY)
def test_any_names_in_a_table(one: str, other: str) -> None:
    table = f"{gfm.head(['one', 'two', 'three'])}\n{gfm.row([gfm.cell(one), gfm.cell(other), 'z'])}\n"
    found = rendered(table)
    assert found.tags <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
    assert [len(row) for row in found.rows] == [3, 3]
    assert found.code == [shown(text).replace(r"\|", r"\\x7c") for text in (one, other) if text]


@given(ANY)
def test_any_text_in_a_block(text: str) -> None:
    found = rendered(f"before\n\n{gfm.block(text)}\n\nafter\n")
    assert found.tags == {"p", "pre", "code"}
    assert found.code == [terminal_text(text.strip("\n")) + "\n"]


@given(ANY)
def test_any_name_in_a_summary(text: str) -> None:
    found = rendered(f"<details>{gfm.summary('1 test', text)}\n\nbody\n\n</details>\n")
    assert found.tags == {"details", "summary", "code", "p"}
    assert found.code == [shown(text)]


def test_a_long_name_is_cut_in_its_middle() -> None:
    (text,) = rendered(gfm.code("a" * 500 + "z" * 500)).code
    assert len(text) == gfm.LONGEST
    assert text[0] == "a"
    assert text[-1] == "z"


@given(ANY)
def test_any_label_or_value_in_a_table(text: str) -> None:
    found = rendered(f"{gfm.head(['one', 'two'])}\n{gfm.row([gfm.figure(text), 'z'])}\n")
    assert found.tags <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
    assert not set("".join(found.words)) & set("@#<`*|")
    assert found.rows[1][1] == "z"


@pytest.mark.parametrize("text", ["-20.0 % [-21.0, +19.0]", "1,234.5 tok/s", "limit: at most 500 ms", "TTFT p50", "-"])
def test_figures_of_ours_stay_as_they_are(text: str) -> None:
    assert gfm.figure(text) == text
    assert rendered(f"{gfm.head(['one', 'two'])}\n{gfm.row([gfm.figure(text), 'z'])}\n").rows[1] == [text, "z"]


@pytest.mark.parametrize("text", [*NASTY, "www.x.org", "https://x.org", "HTTP://X.ORG"])
def test_figures_of_others(text: str) -> None:
    found = rendered(f"{gfm.head(['one', 'two'])}\n{gfm.row([gfm.figure(text), 'z'])}\n")
    assert found.tags <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
