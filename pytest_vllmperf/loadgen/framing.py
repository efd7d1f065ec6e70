"""HTTP/1.1 out of timed pieces: the status, the headers, and the body as timed pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import httptools

from pytest_vllmperf.loadgen.exchange import Piece

_HEAD_END: Final = b"\r\n\r\n"
_SWITCHED: Final = 101
_WITHOUT_BODY: Final = (204, 304)


@dataclass(frozen=True)
class Response:
    """One HTTP response, as far as it arrived.

    Attributes:
        status: None where the head did not arrive whole.
        headers: by lower-case name; of a repeated one the values joined by a comma.
        body: its pieces, without the framing of chunks.
        complete: whether the framing says that it arrived whole; a body that ends with its connection never is.
        until_close: whether the body ends with its connection.
        error: what is wrong with the framing, in words; empty where nothing is.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Sequence[Piece] = ()
    complete: bool = False
    until_close: bool = False
    error: str = ""


def frame(pieces: Iterable[Piece]) -> Response:
    """The response that the pieces hold; what follows it is ignored. Linear in their bytes, however they are split.

    Interim responses (1xx) before the response are passed over.

    Args:
        pieces: what arrived, from the first byte of the response.
    """
    framing = _Framing()
    source = iter(pieces)
    try:
        rest = framing.read_head(source)
        if rest is not None:
            framing.read_body(rest, source)
    except httptools.HttpParserUpgrade:
        framing.error = "the server switched protocols"
    except httptools.HttpParserError as error:
        framing.error = "" if framing.complete else f"not HTTP: {error}"
    finally:
        framing.close()
    return framing.response()


class _Framing:
    """What httptools calls back, and what it has been told so far.

    httptools is not asked for headers: it would join a header that comes in many pieces in quadratic time.
    """

    def __init__(self) -> None:
        self.error = ""
        self.complete = False
        self._status: int | None = None
        self._headers: dict[str, str] = {}
        self._body: list[Piece] = []
        self._chunks: list[bytes] = []
        self._own_chunks: int | None = None
        self._head_read = False
        self.on_body = self._chunks.append  # the parser takes the callback when it is made
        self._parser: Any = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        """The head has arrived whole."""
        if not self.complete:
            self._head_read = True
            self._status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        """The response has arrived whole; chunks that follow belong to another one."""
        if not self.complete:
            self.complete = True
            self._own_chunks = len(self._chunks)

    def read_head(self, source: Iterator[Piece]) -> Piece | None:
        """Read up to the end of the head; returns the rest of the piece that held it, None where it did not come."""
        head = bytearray()
        for time, piece in source:
            searched = max(len(head) - len(_HEAD_END) + 1, 0)
            head += piece
            while (end := head.find(_HEAD_END, searched)) >= 0:
                whole = bytes(head[: end + len(_HEAD_END)])
                del head[: len(whole)]
                searched = 0
                if self._feed_head(whole):
                    return time, bytes(head)
        self._parser.feed_data(bytes(head))  # for its word on what is no head
        return None

    def _feed_head(self, head: bytes) -> bool:
        """Parse a head; False where it is that of an interim response, or only empty lines."""
        self._parser.feed_data(head)
        if not self._head_read:
            return False
        if self._status is not None and self._status < 200 and self._status != _SWITCHED:
            self._head_read = self.complete = False
            self._status = self._own_chunks = None
            return False
        self._headers = _headers(head)
        return True

    def read_body(self, rest: Piece, source: Iterator[Piece]) -> None:
        """Read the body: the rest of the head's last piece, and the pieces after it."""
        feed, chunks, keep = self._parser.feed_data, self._chunks, self._body.append
        for time, piece in chain((rest,), source):
            if self.complete:
                return
            try:
                feed(piece)
            finally:
                if self._own_chunks is not None:
                    del chunks[self._own_chunks :]
                for chunk in chunks:
                    keep((time, chunk))
                chunks.clear()

    def close(self) -> None:
        """Let go of the parser, which refers back to this object: clients read while there is no garbage collection."""
        self._parser = None

    def response(self) -> Response:
        """What has been read."""
        if not self._head_read:
            return Response(error=self.error)
        return Response(self._status, self._headers, self._body, self.complete, self._until_close(), self.error)

    def _until_close(self) -> bool:
        codings = self._headers.get("transfer-encoding")
        if codings is not None:
            return codings.rpartition(",")[2].strip().lower() != "chunked"
        return "content-length" not in self._headers and self._status not in _WITHOUT_BODY


def _headers(head: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").strip("\r\n").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        key, value = name.strip().lower(), value.strip()
        if colon and key:
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers
