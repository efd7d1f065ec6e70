"""Words about faults: foreign texts in one line, and the key that must not be in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.loadgen.faults import key_of, quoted


@given(st.text(max_size=400), st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=20))
def test_a_foreign_text_is_one_short_clean_line(text: str, key: str) -> None:
    shown = quoted(f"{text}{key}{text}", key)
    assert len(shown) <= 200
    assert shown.isprintable()
    assert key not in shown


def test_a_key_is_hidden_as_a_url_has_it_too() -> None:
    assert quoted("no access with k%2Fe%3Dy or k/e=y", "k/e=y") == "no access with *** or ***"


@pytest.mark.parametrize(
    ("head", "key"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-1\r\nX: y\r\n\r\n", "sk-1"),
        (b"POST / HTTP/1.1\r\nauthorization:bearer sk-1\r\n\r\n", "sk-1"),
        (b"POST / HTTP/1.1\r\nauthorization:  bearer  sk-1\r\n\r\n", "sk-1"),
        (b"POST / HTTP/1.1\r\nX-Authorization: Bearer sk-1\r\n\r\n", ""),
        (b"", ""),
    ],
)
def test_the_key_of_a_head(head: bytes, key: str) -> None:
    assert key_of(head) == key
