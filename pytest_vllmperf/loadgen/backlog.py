"""`Backlog`: keeps exchanges that are over. Above a budget of memory the oldest are read while others are under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from pytest_vllmperf.loadgen import wire
from pytest_vllmperf.loadgen.exchange import Exchange
from pytest_vllmperf.loadgen.job import Call
from pytest_vllmperf.records.answers import Answer

_OF_A_PIECE: Final = 128
"""Bytes of memory that a piece takes besides its own: the bytes object, the time, the pair, its place in a list."""

_OF_A_FRAME: Final = 64
"""Answers in one frame."""

Reader = Callable[[Call, Exchange], Answer]
"""What makes an answer of an exchange: `load.reading.read`."""


class Backlog:
    """Keeps exchanges as they came until they are read, and then their answers, as frames for the parent process.

    Args:
        read: makes an answer of an exchange.
        budget: bytes of memory that exchanges may take.
    """

    def __init__(self, read: Reader, budget: int) -> None:
        self._reader = read
        self._budget = budget
        self._size = 0
        self._raw: deque[tuple[Call, Exchange, int]] = deque()
        self._answers: list[Answer] = []
        self._frames: deque[bytes] = deque()

    @property
    def over(self) -> bool:
        """Whether more memory is taken than may be."""
        return self._size > self._budget

    def add(self, call: Call, exchange: Exchange) -> None:
        """Keep an exchange that is over."""
        size = sum([len(data) for _, data in exchange.pieces]) + _OF_A_PIECE * len(exchange.pieces)
        self._size += size
        self._raw.append((call, exchange, size))

    def read_one(self) -> None:
        """Read the oldest exchange."""
        call, exchange, size = self._raw.popleft()
        self._size -= size
        self._answers.append(self._reader(call, exchange))
        if len(self._answers) >= _OF_A_FRAME:
            self._pack()

    def frames(self) -> Iterator[bytes]:
        """All answers, in frames; what has not been read is read now. Each is let go when it is handed out."""
        while self._frames or self._raw:
            if not self._frames:
                self.read_one()
            else:
                yield self._frames.popleft()
        if self._answers:
            self._pack()
            yield self._frames.popleft()

    def _pack(self) -> None:
        self._frames.append(wire.answers_frame(self._answers))
        self._answers = []
