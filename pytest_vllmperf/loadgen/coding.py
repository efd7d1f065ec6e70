"""Content codings: gzip and deflate, unpacked piece by piece so that each keeps its time."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pytest_vllmperf.loadgen.exchange import Piece

_GZIP: Final = ("gzip", "x-gzip")
_PLAIN: Final = ("", "identity")
_GZIP_BITS: Final = 16 + zlib.MAX_WBITS
_SLICE: Final = 4096
"""Bytes given to zlib at once. At the end of a stream it copies what follows: were that the whole rest of a piece, many
short streams in it would take quadratic time."""

MOST_UNPACKED: Final = 1 << 28
"""Bytes that a response may unpack to."""


@dataclass(frozen=True)
class Unpacked:
    """A body without its content coding.

    Attributes:
        body: its pieces, each with the time of the piece that held it; none where something is wrong with it.
        whole: whether the packed data ended where it says that it ends.
        error: what is wrong with it, in words; empty where nothing is.
    """

    body: Sequence[Piece]
    whole: bool = True
    error: str = ""


def unpack(body: Sequence[Piece], coding: str) -> Unpacked:
    """The body without its coding, in time linear in the packed and the unpacked bytes.

    Args:
        body: the pieces as they came.
        coding: the value of `Content-Encoding`; empty for none.
    """
    name = coding.strip().lower()
    if name in _PLAIN:
        return Unpacked(body)
    if name not in _GZIP and name != "deflate":
        return Unpacked((), error=f"content encoding {coding!r}, which was not asked for")
    unpacked: list[Piece] = []
    unpacker = _Unpacker(name in _GZIP)
    try:
        for time, piece in body:
            plain = b"".join(unpacker.feed(piece))
            if plain:
                unpacked.append((time, plain))
    except zlib.error as error:
        return Unpacked((), whole=False, error=f"not {name}: {error}")
    return Unpacked(unpacked, whole=unpacker.whole or not body)


class _Unpacker:
    """One packed body: a gzip stream or several in a row, or a deflate stream with or without zlib's header."""

    def __init__(self, gzip: bool) -> None:
        self._gzip = gzip
        self._stream: Any = zlib.decompressobj(_GZIP_BITS) if gzip else None
        self._begun = b""
        self._room = MOST_UNPACKED
        self.whole = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """What the next bytes unpack to."""
        if self._stream is None:
            self._begun += piece
            if len(self._begun) < 2:
                return
            piece, self._begun = self._begun, b""
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if _has_zlib_header(piece) else -zlib.MAX_WBITS)
        for start in range(0, len(piece), _SLICE):
            part = piece[start : start + _SLICE]
            while part:
                yield self._next(part)
                part = self._stream.unused_data if self._stream.eof else b""

    def _next(self, part: bytes) -> bytes:
        if self._stream.eof:
            if not self._gzip:
                raise zlib.error("data after its end")
            self._stream = zlib.decompressobj(_GZIP_BITS)
        plain: bytes = self._stream.decompress(part, self._room + 1)
        self._room -= len(plain)
        if self._room < 0:
            raise zlib.error(f"it unpacks to more than {MOST_UNPACKED} bytes")
        self.whole = self._stream.eof
        return plain


def _has_zlib_header(data: bytes) -> bool:
    """Whether deflate data begins as RFC 1950 has it: some servers send RFC 1951's without."""
    return data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
