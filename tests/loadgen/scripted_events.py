"""What the scripted server sends: its script, and the bytes of events."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

WORD = " tök"
"""The text of each token; two bytes of it are one character."""


@dataclass(frozen=True)
class Script:
    """What an answer is like.

    Attributes:
        ttft: seconds from the request to the first token.
        gap: seconds between tokens.
        tokens: how many; None for the request's max_tokens, or 16.
        id: by which `/sent` knows it.
        fault: a name in `FAULTS`; empty for none.
        at: tokens after which a fault comes.
        framing: `chunked`, `close` (ends with the connection) or `length`.
        split: bytes into which everything is split, each sent on its own; 0 for events as they are.
        crlf: whether events end with CRLF.
        usage: whether the last event tells tokens.
        role: whether a chat begins with an empty chunk that names the role.
        keep: whether the connection is kept.
    """

    ttft: float = 0.0
    gap: float = 0.0
    tokens: int | None = None
    id: str = ""
    fault: str = ""
    at: int = 2
    framing: str = "chunked"
    split: int = 0
    crlf: bool = False
    usage: bool = True
    role: bool = True
    keep: bool = True


FAULTS = (
    "die",  # the connection is reset in mid-stream
    "exit",  # the server itself ends in mid-stream
    "half-close",  # the server ends its side in mid-stream
    "stall",  # nothing more comes
    "500",
    "429",  # with Retry-After
    "redirect",
    "malformed",  # an event that is not JSON
    "not-http",
    "bad-chunk",  # a chunk whose size is no number
    "utf8-split",  # an event is sent in two pieces, split in the middle of a character
    "comments",  # between events
    "error-body",  # 200 with an error
    "error-event",  # an error in mid-stream
    "fewer",  # half of the tokens that were asked for
    "gzip",
    "no-answer",  # the connection is closed without an answer
    "close-idle",  # a sound answer, after which the connection is closed without a word
    "hold",  # the head is never sent
    "trailers",  # after the last chunk
    "interim",  # 103 before the answer
)


class Events:
    """The bytes of an answer's events, made once for all answers that are alike."""

    def __init__(self, chat: bool, script: Script, tokens: int, asked_usage: bool) -> None:
        self._chat = chat
        self._end = b"\r\n\r\n" if script.crlf else b"\n\n"
        self.token = self.event(self._token(WORD, None))
        self.last_token = self.event(self._token(WORD, "length"))
        self.role = [self.event(self._token("", None))] if chat and script.role else []
        usage = {"prompt_tokens": 8, "completion_tokens": tokens, "total_tokens": 8 + tokens}
        told = [self.event({**self._frame(), "choices": [], "usage": usage})] if script.usage and asked_usage else []
        self.tail = [*told, b"data: [DONE]" + self._end]
        self.whole = json.dumps(
            {
                **self._frame(stream=False),
                "choices": [self._whole(tokens)],
                **({"usage": usage} if script.usage else {}),
            }
        ).encode()

    def event(self, content: dict[str, Any]) -> bytes:
        return b"data: " + json.dumps(content, ensure_ascii=False).encode() + self._end

    def _frame(self, stream: bool = True) -> dict[str, Any]:
        kind = ("chat.completion.chunk" if stream else "chat.completion") if self._chat else "text_completion"
        return {"id": "scripted-0123456789abcdef0123456789abcdef", "object": kind, "created": 1, "model": "scripted"}

    def _token(self, text: str, finish: str | None) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": finish}
        if self._chat:
            choice["delta"] = {"content": text} if text else {"role": "assistant", "content": ""}
        else:
            choice["text"] = text
        return {**self._frame(), "choices": [choice]}

    def _whole(self, tokens: int) -> dict[str, Any]:
        text = WORD * tokens
        said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        return {"index": 0, **said, "finish_reason": "length"}


def whole(status: str, body: bytes, headers: str = "") -> bytes:
    """A response whose length is told."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body
