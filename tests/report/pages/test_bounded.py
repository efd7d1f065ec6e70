from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.report.pages.bounded import Part, Sheet, shortened


@given(st.text(), st.integers(min_value=64, max_value=400))
def test_a_shortened_text_fits(text: str, most: int) -> None:
    found = shortened(text, most)
    assert len(found.encode("utf-8", "backslashreplace")) <= most + len("... 1,000,000 lines left out ...\n")
    if len(text.encode("utf-8", "backslashreplace")) <= most:
        assert found == text


def test_the_beginning_and_the_end_stay() -> None:
    lines = [f"line {number}" for number in range(1_000)]
    found = shortened("\n".join(lines), 400).split("\n")
    assert found[0] == "line 0"
    assert found[-1] == "line 999"
    (gap,) = [line for line in found if line.startswith("...")]
    assert gap == f"... {1_000 - len(found) + 1:,} lines left out ..."


@given(st.lists(st.text(max_size=200), max_size=40), st.integers(min_value=1_000, max_value=4_000))
def test_a_sheet_is_never_larger_than_it_may_be(texts: list[str], most: int) -> None:
    sheet = Sheet(most)
    sheet.add(Part("head", "headline"))
    sheet.group("open", [Part(text, "row") for text in texts], "close", joint="\n")
    for text in texts:
        sheet.add(Part(text, "text"))
    found = sheet.text()
    assert len(found.encode("utf-8", "backslashreplace")) <= most
    assert found.startswith("head")
    assert found.count("open") == found.count("close") or any("open" in text or "close" in text for text in texts)


def test_what_does_not_fit_is_counted() -> None:
    sheet = Sheet(1_000)
    sheet.add(Part("head", "headline"))
    sheet.group("open", [Part("x" * 100, "row")] * 9, "close")
    sheet.add(Part("y" * 500, "kernel table"))
    text = sheet.text()
    shown = text.count("x" * 100)
    assert 0 < shown < 9
    assert f"at most 1,000 bytes: {9 - shown} rows, 1 kernel table.**" in text
