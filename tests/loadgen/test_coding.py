"""`unpack`: gzip and deflate in any split, each piece with its time; and packed data that is none, or a trap."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.loadgen import coding
from pytest_vllmperf.loadgen.coding import Unpacked, unpack
from tests.loadgen.wire import split, timed

TEXT = b"data: something that repeats, repeats, repeats\n\n" * 20


def raw(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": gzip.compress(TEXT, mtime=0),
    "x-gzip": gzip.compress(TEXT[:100], mtime=0) + gzip.compress(b"") + gzip.compress(TEXT[100:]),
    "deflate": zlib.compress(TEXT),
    " Deflate ": raw(TEXT),
}


@settings(max_examples=100)
@given(st.sampled_from(sorted(PACKED)), st.lists(st.integers(0, 200), max_size=20))
def test_unpacked_in_any_split(name: str, cuts: list[int]) -> None:
    seen = unpack(timed(split(PACKED[name], cuts)), name)
    assert (b"".join(piece for _, piece in seen.body), seen.whole, seen.error) == (TEXT, True, "")
    assert all(piece for _, piece in seen.body)


def test_a_piece_keeps_the_time_of_the_bytes_that_brought_it() -> None:
    packer = zlib.compressobj(wbits=31)
    pieces = [(time, packer.compress(b"abc") + packer.flush(zlib.Z_SYNC_FLUSH)) for time in (5, 8)]
    assert unpack([*pieces, (9, packer.flush())], "gzip") == Unpacked([(5, b"abc"), (8, b"abc")])


@pytest.mark.parametrize("name", ["", "identity"])
def test_no_coding(name: str) -> None:
    assert unpack([(1, b"abc")], name) == Unpacked([(1, b"abc")])


def test_packed_data_that_ends_early_is_not_whole() -> None:
    seen = unpack([(1, PACKED["gzip"][:-9])], "gzip")
    assert (seen.whole, seen.error) == (False, "")


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (b"abcdefghijklm", "gzip", "not gzip"),
        (PACKED["gzip"] + b"more", "gzip", "not gzip"),
        (PACKED["deflate"] + b"more", "deflate", "data after its end"),
        (PACKED["gzip"][:-8] + bytes(8), "gzip", "not gzip"),
        (b"abc", "br", "content encoding 'br', which the request did not accept"),
        (b"abc", "gzip, gzip", "which the request did not accept"),
    ],
    ids=["no gzip", "more behind gzip", "more behind deflate", "wrong sum", "other coding", "coded twice"],
)
def test_what_is_wrong_with_packed_data(data: bytes, name: str, words: str) -> None:
    for pieces in ([data], split(data, range(len(data)))):
        seen = unpack(timed(pieces), name)
        assert words in seen.error
        assert list(seen.body) == []


def test_what_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "MOST_UNPACKED", 1000)
    assert unpack([(1, gzip.compress(b"x" * 1000))], "gzip").error == ""
    for bomb in (gzip.compress(b"x" * 1001), gzip.compress(b"x" * 600) * 2, gzip.compress(bytes(10**7))):
        assert "decompresses to more than 1000 bytes" in unpack([(1, bomb)], "gzip").error
