"""Server-sent events out of the pieces of a body, as the HTML standard defines the format."""

from __future__ import annotations

from typing import Final

Event = tuple[bytes | None, bytes]
"""Of an event its name (empty without one) and its data. Of a line that is no field: None, and the line."""

_MARK: Final = b"\xef\xbb\xbf"
_DATA: Final = b"data: "
_FIELDS: Final = (b"data", b"event", b"id", b"retry")


class EventStream:
    """Events of a body. Linear in its bytes, however they are split; an event that never ends is no event.

    The standard ignores lines that are no field. Here they are given out too, as no server sends any on purpose.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._name = b""
        self._after_cr = False
        self._first_line = True

    @property
    def between_events(self) -> bool:
        """Whether the next byte begins a line, and with it an event."""
        return not (self._line or self._data or self._name or self._after_cr)

    @property
    def unfinished(self) -> bool:
        """Whether there is something of an event that has not ended."""
        return bool(self._line or self._data)

    def feed(self, piece: bytes) -> list[Event]:
        """The events that are complete with the next piece of the body."""
        lines = piece.splitlines()
        if len(lines) == 2 and not lines[1] and lines[0].startswith(_DATA) and self.between_events:
            self._first_line = False
            self._after_cr = piece.endswith(b"\r")
            return [(b"", lines[0][len(_DATA) :])]
        if self._after_cr and piece:
            self._after_cr = False
            if piece.startswith(b"\n"):  # the second half of a CRLF
                piece = piece[1:]
                lines = piece.splitlines()
        return self._read_lines(piece, lines) if piece else []

    def _read_lines(self, piece: bytes, lines: list[bytes]) -> list[Event]:
        events: list[Event] = []
        rest = b"" if piece.endswith((b"\n", b"\r")) else lines.pop()
        self._after_cr = piece.endswith(b"\r")
        for line in lines:
            if self._line:
                self._line += line
                line = bytes(self._line)
                self._line.clear()
            if self._first_line:
                line = line.removeprefix(_MARK)
                self._first_line = False
            if line:
                if not self._read_line(line):
                    events.append((None, line))
            elif self._data:
                events.append((self._name, self._take()))
            else:
                self._name = b""
        self._line += rest
        return events

    def _read_line(self, line: bytes) -> bool:
        """Read a field or a comment; False for what is neither."""
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif name == b"event":
            self._name = value.removeprefix(b" ")
        return not name or name in _FIELDS

    def finish(self) -> list[Event]:
        """The body has ended. Gives out a last line that was cut, unless it could be the beginning of a field."""
        line = bytes(self._line)
        line = line.removeprefix(_MARK) if self._first_line else line
        name, colon, _ = line.partition(b":")
        known = not name or (name in _FIELDS if colon else any(field.startswith(name) for field in _FIELDS))
        return [] if known else [(None, line)]

    def _take(self) -> bytes:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data.clear()
        self._name = b""
        return data
