"""`Shape`: what is recognized by its bytes means what its JSON says."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.loadgen.shapes import shape_of, unescape
from tests.loadgen import wire

PATH = ("choices", 0, "text")
TOKEN = wire.text_event(" word")
DATA = TOKEN[6:-2]


@settings(max_examples=300)
@given(st.text(max_size=12) | st.binary(max_size=12).map(lambda raw: raw.decode("latin-1")), st.booleans())
def test_a_text_is_taken_as_a_parser_takes_it(text: str, ascii_only: bool) -> None:
    shape = shape_of(TOKEN, DATA, PATH, answer=True)
    assert shape is not None
    written = json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode()
    taken = shape.text_of(shape.before + written + shape.after)
    surrogates = ascii_only and any(ord(sign) > 0xFFFF for sign in text)
    if not text or surrogates:
        assert taken is None  # left to the parser
    else:
        assert taken == written
        assert unescape(taken) == text


@settings(max_examples=300)
@given(
    st.binary(max_size=8)
    | st.lists(st.sampled_from([b'"', b"\\", b"u12", b"\\u00e9", b"\\x", b"\n", b"}"])).map(b"".join)
)
def test_what_is_taken_is_valid_json_with_that_text_and_nothing_else(inner: bytes) -> None:
    shape = shape_of(TOKEN, DATA, PATH, answer=True)
    assert shape is not None
    taken = shape.text_of(shape.before + inner + shape.after)
    if taken is not None:
        parsed = orjson.loads((shape.before + inner + shape.after)[6:-2])
        assert parsed["choices"][0].pop("text") == unescape(taken)
        original = orjson.loads(DATA)
        del original["choices"][0]["text"]
        assert parsed == original


@pytest.mark.parametrize(
    ("piece", "data"),
    [
        (b"id: 1\n" + TOKEN, DATA),  # another field
        (b"data: " + DATA[:20], DATA),  # not the whole event
        (b'data: {"text":\ndata: "a"}\n\n', b'{"text":\n"a"}'),  # data of two lines
        (b'data: {"text":"a","text":"b"}\n\n', b'{"text":"a","text":"b"}'),  # the first of two does not count
        (b'data: {"note":"\\"text\\":\\"x","text" : "a"}\n\n', b'{"note":"\\"text\\":\\"x","text" : "a"}'),
    ],
)
def test_where_the_text_cannot_be_told_from_its_surroundings_there_is_no_shape(piece: bytes, data: bytes) -> None:
    assert shape_of(piece, data, ("text",), answer=True) is None


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("field", [b"data: ", b"data:"])
def test_shapes_of_other_servers(field: bytes, end: bytes) -> None:
    shape = shape_of(field + b'{"text": "a"}' + end, b'{"text": "a"}', ("text",), answer=False)
    assert shape is not None
    assert shape.text_of(field + b'{"text": "bc"}' + end) == b"bc"
    assert shape.text_of(field + b'{"text": "bc" }' + end) is None
    assert shape.text_of(field + b'{"text": "') is None
