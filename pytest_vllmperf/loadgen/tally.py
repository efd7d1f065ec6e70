"""`Tally`: what the objects of one answer add up to, with the times of its pieces of content."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from operator import sub
from typing import Any, Final

from pytest_vllmperf.loadgen.events import Event, EventStream
from pytest_vllmperf.loadgen.exchange import Piece
from pytest_vllmperf.loadgen.job import Api
from pytest_vllmperf.loadgen.objects import (
    Content,
    UnreadableError,
    Usage,
    content_of,
    error_of,
    output_tokens_of,
    parse,
    server_ttft_of,
    usage_of,
)
from pytest_vllmperf.loadgen.shapes import Shape, shape_of, unescape

_DONE: Final = b"[DONE]"
_SHOWN: Final = 1000
_MOST_SHAPES: Final = 8
"""Shapes that are made for one answer at most: an answer that needs more has events that vary too much."""


class Tally:
    """What one answer adds up to.

    Attributes:
        times: when each piece with content arrived.
        first_answer_ns: the first of them with content that is no reasoning, and not only token ids.
        reasoned: whether any had reasoning.
        server_ttft: seconds, by the server's metrics of the request; None without them.
        finish_reason: the server's word; None without one.
        events: how many events came that were not recognized by their bytes.
        done: whether the stream said that it is over.
        error: the error that the server told instead of an answer; empty for none.
        unreadable: what was wrong with an event; empty for nothing.
        keep: whether texts are kept.
    """

    def __init__(self, api: Api, *, keep: bool) -> None:
        self.times = array("q")
        self.first_answer_ns: int | None = None
        self.reasoned = False
        self._usage: Any = None
        self.server_ttft: float | None = None
        self.finish_reason: str | None = None
        self.events = 0
        self.done = False
        self.error = ""
        self.unreadable = ""
        self._api = api
        self.keep = keep
        self._texts: list[str] = []
        self._tools: dict[int, list[str]] = {}
        self._totals = array("q")
        self._ids = array("q")
        self._shapes_left = _MOST_SHAPES

    def read_stream(self, pieces: Iterable[Piece], stream: EventStream) -> None:
        """Add the events of a body, up to the end of the stream or to what ends it.

        Args:
            pieces: of the body; an event has the time of the piece that completes it.
            stream: what the pieces are fed to.
        """
        shape: Shape | None = None
        between = False
        add_time, add_text = self.times.append, self._texts.append
        for time, piece in pieces:
            text = shape.text_of(piece) if between and shape is not None else None
            if text is not None:
                add_time(time)
                if self.keep and shape is not None and shape.answer:
                    add_text(unescape(text))
                continue
            events = stream.feed(piece)
            content = self._read_events(events, time)
            if self.done or self.error or self.unreadable:
                return
            shape = self._shape(piece, events[0][1], content) or shape if len(events) == 1 else shape
            between = stream.between_events
        self._read_events(stream.finish(), 0)

    def _shape(self, piece: bytes, data: bytes, content: Content | None) -> Shape | None:
        """What pieces like this one, which completed one event, have in common; None where it cannot be told."""
        if content is None or not content.path or not self._shapes_left:
            return None
        self._shapes_left -= 1
        return shape_of(piece, data, ("choices", 0, *content.path), answer=content.answer)

    def _read_events(self, events: Sequence[Event], time: int) -> Content | None:
        """Add events up to one that ends the stream; returns the content of the last one."""
        content = None
        try:
            for name, data in events:
                content = self._read_event(name, data, time)
                if self.done or self.error:
                    break
        except UnreadableError as error:
            self.unreadable = str(error)
        return content

    def _read_event(self, name: bytes | None, data: bytes, time: int) -> Content | None:
        if name is None:
            raise UnreadableError(f"not a line of an event stream: {data[:_SHOWN].decode(errors='replace')}")
        self.events += 1
        if data.strip() == _DONE:
            self.done = True
            return None
        if name == b"error":
            self.error = _error_in(data)
            return None
        return self.add(parse(data), time, "delta")

    def add(self, parsed: Mapping[str, Any], time: int, part: str) -> Content | None:
        """Add an object.

        Args:
            parsed: the object.
            time: when it was complete.
            part: where a chat's choice has its content: `delta` in an event, `message` in a whole answer.

        Raises:
            UnreadableError: for an object that is none of OpenAI's.
        """
        error = error_of(parsed)
        if error is not None:
            self.error = error
            return None
        usage = parsed.get("usage")
        if usage:
            self._usage = usage
        if "metrics" in parsed:
            self.server_ttft = server_ttft_of(parsed)
        content = content_of(parsed, self._api, part)
        if content is not None:
            self._add_content(content, usage, time)
        return content

    def _add_content(self, content: Content, usage: Any, time: int) -> None:
        if content.finish_reason:
            self.finish_reason = content.finish_reason
        if self.keep:
            self._texts.append(content.text)
            for place, arguments in content.tools or ():
                self._tools.setdefault(place, []).append(arguments)
        if not content.counts:
            return
        self.times.append(time)
        if content.reasoning:
            self.reasoned = True
        if content.answer and self.first_answer_ns is None:
            self.first_answer_ns = time
        if usage and (total := output_tokens_of(usage)) is not None:
            self._totals.append(total)
        if content.ids is not None:
            self._ids.append(content.ids)

    @property
    def usage(self) -> Usage:
        """The server's last word on tokens."""
        return usage_of(self._usage)

    @property
    def text(self) -> str:
        """The answer's text; empty where it was not kept."""
        return "".join(self._texts)

    @property
    def tool_calls(self) -> tuple[str, ...]:
        """The arguments of its tool calls, in their order; none where they were not kept."""
        return tuple("".join(self._tools[place]) for place in sorted(self._tools))

    @property
    def output_tokens(self) -> int | None:
        """Tokens of the answer: by usage, else by token ids where each piece told them, else None."""
        told = output_tokens_of(self._usage)
        if told is not None:
            return told
        return sum(self._ids) if self.times and len(self._ids) == len(self.times) else None

    def gaps_ns(self) -> array[int]:
        """Gaps between pieces of content."""
        return array("q", map(sub, self.times[1:], self.times))

    def piece_tokens(self) -> array[int]:
        """Tokens of each piece of content; empty where that is not known.

        By usage that comes with each piece (the difference to the piece before: tokens whose text was held back belong
        to the piece that shows it), else by token ids, else one each where there are as many pieces as tokens.
        """
        pieces = len(self.times)
        if pieces and len(self._totals) == pieces:
            each = array("q", [self._totals[0], *map(sub, self._totals[1:], self._totals)])
            if min(each) >= 0:
                return each
        if len(self._ids) == pieces:
            return self._ids
        return array("q", [1]) * pieces if self.output_tokens == pieces else array("q")


def _error_in(data: bytes) -> str:
    try:
        parsed = parse(data)
    except UnreadableError:
        return data[:_SHOWN].decode(errors="replace") or "an error without a message"
    return error_of(parsed) or error_of({"error": parsed}) or "an error without a message"
