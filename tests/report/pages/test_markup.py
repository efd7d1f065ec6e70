"""HTML out of texts."""

from __future__ import annotations

from pytest_vllmperf.report.pages.markup import Column, Html, facts, joined, table, tag


def test_texts_are_escaped_and_markup_stays() -> None:
    assert tag("p", "<b>", tag("i", "&"), None, class_="a\"'", data_x=True, hidden=None) == (
        '<p class="a&quot;&#x27;" data-x>&lt;b&gt;<i>&amp;</i></p>'
    )


def test_parts_that_were_put_together_outside_are_escaped() -> None:
    assert joined(Html("<i>") + "x") == "&lt;i&gt;x"


def test_control_characters_are_shown() -> None:
    assert joined("\x1b[31m\n\ud800") == "\\x1b[31m\n\\ud800"


def test_a_column_without_values_is_left_out() -> None:
    made = table([Column("a"), Column("b", "n"), Column("c")], [["1", "", None], ["<", None, "3"]])
    assert ">b<" not in made
    assert "<tr><td>1<td><tr><td>&lt;<td>3" in made


def test_facts_without_a_value_are_left_out() -> None:
    assert facts([("a", "1"), ("b", ""), ("c", None)]) == '<dl class="facts"><dt>a</dt><dd>1</dd></dl>'
    assert facts([("b", None)]) == ""
