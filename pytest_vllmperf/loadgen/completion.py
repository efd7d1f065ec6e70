"""`Completion`: tells when a response of HTTP/1.1 is complete, and looks at as few of its bytes as that needs.

The pieces of a stream in chunks are only looked at where the end can be: the end of a chunked body is an empty line,
so it can only be in a piece that ends so, or in one that is too short to tell. Then httptools reads all that it has not
read yet. What is inside a chunk may look like an end: httptools counts bytes, and is not deceived.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final

import httptools

from pytest_vllmperf.loadgen.exchange import Piece

END: Final = b"\r\n\r\n"
"""How a body in chunks ends. A piece of that length or more that does not end so ends no such body."""

_EVENT_END: Final = b"\r\n\r\n\r\n"
"""The end of a chunk whose content ends with an empty line, as events with CRLF do. No response ends so."""

_UPGRADE: Final = 101
_FIRST_FINAL: Final = 200


class Body(Enum):
    """How the end of a body is told."""

    HEAD = "the head is not complete yet"
    COUNTED = "by its length, or there is none"
    CHUNKED = "by an empty chunk"
    CLOSED = "by the end of the connection"


class Completion:
    """Follows the responses of one connection, one after the other.

    Attributes:
        body: how the end of the present response is told.
        streaming: whether it is told by an empty chunk; a plain attribute, as it is asked for with every piece.
        complete: whether the present response is.
        reusable: whether the connection can be used again after it; known once it is complete.
        problem: why this is not HTTP; empty where it is.
    """

    def __init__(self) -> None:
        self.body = Body.HEAD
        self.streaming = False
        self.complete = False
        self.reusable = False
        self.problem = ""
        self._read = 0
        self._counted = False
        self._chunked = False
        self._parser = httptools.HttpResponseParser(self)

    def begin(self) -> None:
        """A request is sent: a new response is to come."""
        self.body = Body.HEAD
        self.streaming = self.complete = False
        self._read = 0
        self._counted = self._chunked = False

    def look(self, pieces: Sequence[Piece]) -> bool:
        """Whether the response has ended, one way or the other, with its latest piece.

        Args:
            pieces: all pieces of the response so far.
        """
        if self.streaming:
            last = pieces[-1][1]
            if len(last) >= len(END) and (not last.endswith(END) or last.endswith(_EVENT_END)):
                return False
        elif self.body is Body.CLOSED:
            return False
        self._catch_up(pieces)
        return self.complete or bool(self.problem)

    def finish(self, pieces: Sequence[Piece], *, closed: bool) -> bool:
        """Whether the response is complete, now that nothing more is waited for.

        Args:
            pieces: all pieces of the response.
            closed: whether the server has ended the connection in good order: the end of some bodies.
        """
        self._catch_up(pieces)
        if closed and self.body is Body.CLOSED and not self.problem:
            self.complete, self.reusable = True, False
        return self.complete

    def close(self) -> None:
        """Let go of the parser, which refers back to this object: there is no garbage collection while requests run."""
        self._parser = None

    def _catch_up(self, pieces: Sequence[Piece]) -> None:
        """Let httptools read the pieces that it has not read."""
        start, self._read = self._read, len(pieces)
        try:
            for position in range(start, len(pieces)):
                if self.body is Body.CLOSED or self.problem:
                    return
                self._parser.feed_data(pieces[position][1])
        except httptools.HttpParserUpgrade:
            self.complete, self.reusable = True, False
        except httptools.HttpParserError as error:
            if self.complete:  # what follows a complete response is no matter of that response
                self.reusable = False
            else:
                self.problem = f"not HTTP: {error}"

    def on_message_begin(self) -> None:
        """Called by httptools: where a response is complete, the server sends what nobody asked for."""
        self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools for each header."""
        name = name.lower()
        if name == b"content-length":
            self._counted = True
        elif name == b"transfer-encoding":
            self._chunked = b"chunked" in value.lower()

    def on_headers_complete(self) -> None:
        """Called by httptools when the head is read."""
        if self.complete:
            return
        if self._chunked:
            self.body, self.streaming = Body.CHUNKED, True
        elif self._counted or self._parser.get_status_code() in (204, 304) or self._interim():
            self.body = Body.COUNTED
        else:
            self.body = Body.CLOSED

    def on_message_complete(self) -> None:
        """Called by httptools at the end of a response; interim ones (100, 103) come before the one that counts."""
        if self.complete:
            return
        if self._interim():
            self.body, self.streaming, self._counted, self._chunked = Body.HEAD, False, False, False
            return
        self.complete = True
        self.reusable = bool(self._parser.should_keep_alive())

    def _interim(self) -> bool:
        status = self._parser.get_status_code()
        return bool(status < _FIRST_FINAL and status != _UPGRADE)
