"""What went wrong with a response, in a line that a person can read: no secret, no control character, no long text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote

from pytest_vllmperf.loadgen.exchange import Piece
from pytest_vllmperf.loadgen.objects import UnreadableError, message_of, parse

_LONGEST: Final = 200
"""Characters of a foreign text that are shown."""

_SHED: Final = (429, 503)
_SECONDS: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_BEARER: Final = re.compile(rb"^authorization:[ \t]*bearer[ \t]+([^\r\n]+)", re.IGNORECASE | re.MULTILINE)
_USER: Final = re.compile(r"//[^/@]*@")


def key_of(head: bytes) -> str:
    """The key that the head of a request holds; empty for none."""
    found = _BEARER.search(head)
    return found.group(1).decode("latin-1").strip() if found else ""


def quoted(text: str, key: str = "") -> str:
    """A foreign text for a message: without the key, in one line, control characters escaped, at most 200 characters.

    Args:
        text: what somebody else wrote.
        key: what must not be shown; empty for nothing.
    """
    for secret in {key, quote(key, safe="")} - {""}:
        text = text.replace(secret, "***")
    text = text[: 4 * _LONGEST].strip()
    escaped = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    return escaped if len(escaped) <= _LONGEST else escaped[: _LONGEST - 1] + "…"


def status_fault(status: int, headers: Mapping[str, str], body: Sequence[Piece], key: str) -> tuple[str, str]:
    """The failure that a status means, and what the server said of it; two empty texts for 2xx.

    Args:
        status: of HTTP.
        headers: by lower-case name.
        body: without its coding.
        key: what must not be shown.
    """
    if 200 <= status < 300:
        return "", ""
    if 300 <= status < 400:
        target = _USER.sub("//", re.split(r"[?#]", headers.get("location", ""))[0])
        where = f"to {quoted(target, key)}" if target else "without a location"
        return "redirect", f"HTTP {status}: redirected {where}"
    said = quoted(_words_of(b"".join(piece for _, piece in body)), key)
    words = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status not in _SHED:
        return "status", words
    asked = headers.get("retry-after", "").strip()
    return "shed", f"{words} (Retry-After: {quoted(asked, key)})" if asked else words


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait for; None where it does not, or in words that are not HTTP's.

    A date counts from the server's own clock, its header `Date`; without that one it tells nothing.

    Args:
        headers: by lower-case name.
    """
    asked = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(asked):
        return float(asked)
    try:
        wait = parsedate_to_datetime(asked) - parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return max(wait.total_seconds(), 0.0)


def _words_of(body: bytes) -> str:
    """What the body of an error says: the message of its JSON, else its text."""
    try:
        words = message_of(parse(body))
    except UnreadableError:
        words = ""
    return words or body.decode(errors="replace")
