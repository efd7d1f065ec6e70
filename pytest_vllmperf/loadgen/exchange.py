"""`Exchange`: what happened at the socket for one call, kept as it came and read after the run."""

from __future__ import annotations

from dataclasses import dataclass, field

Piece = tuple[int, bytes]
"""When bytes arrived, in monotonic nanoseconds, and the bytes."""


@dataclass
class Exchange:
    """What happened at the socket for one call; filled by the client, read by `load.reading`.

    Attributes:
        index: of the call.
        due_ns: when it was to be sent.
        sent_ns: when its bytes were handed to the socket; None where that never happened.
        end_ns: when its response was complete, or it was given up; 0 while it is under way.
        pieces: what arrived for it, in order: HTTP, head and body.
        failure: what the client itself saw go wrong, a name in `records.answers.FAILURES`; empty where nothing did.
        detail: the same in words.
    """

    index: int
    due_ns: int
    sent_ns: int | None = None
    end_ns: int = 0
    pieces: list[Piece] = field(default_factory=list)
    failure: str = ""
    detail: str = ""
