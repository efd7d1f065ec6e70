"""Images, audio and video in the messages of chats: read once, so that what is sent is what the key is made of."""

from __future__ import annotations

import base64
import hashlib
import json
import mimetypes
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from pytest_vllmperf.workload.entries import UnusableError, shown

_KINDS: Final = {"image_url": "image", "audio_url": "audio", "video_url": "video", "input_audio": "audio"}
"""Types of parts of a message, as OpenAI and vLLM name them, and what they hold."""
_MOST_BYTES: Final = 64 << 20


def embedded(messages: Sequence[Any]) -> list[Any]:
    """Messages with local files as `data:` URLs in the place of their paths.

    Args:
        messages: of a chat; the URL of a part may be a `data:` URL, a path, or a `file:` URL.

    Raises:
        UnusableError: for a file that cannot be read or is too large, or a URL of another machine.
    """
    return [_message(message, local=True) for message in messages]


def check_embedded(messages: Sequence[Any]) -> None:
    """See that messages out of a file hold what they send: a file must not name other files of this machine.

    Raises:
        UnusableError: for a URL that is no `data:` URL.
    """
    for message in messages:
        _message(message, local=False)


def media(inputs: Sequence[str]) -> dict[str, Any]:
    """What chats hold besides text: how many items of each kind, and a digest of their contents; empty without.

    Args:
        inputs: chats as JSON, or other inputs, which hold none.
    """
    found: dict[str, list[str]] = {}
    for text in inputs:
        if not any(f'"{name}"' in text for name in _KINDS):
            continue
        for kind, content in _parts(text):
            found.setdefault(kind, []).append(content)
    told: dict[str, Any] = {}
    for kind, contents in sorted(found.items()):
        told[f"{kind} items"] = len(contents)
        told[f"{kind} contents"] = hashlib.sha256("\0".join(contents).encode()).hexdigest()[:12]
    return told


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Kind and content of each item of one chat."""
    try:
        messages = json.loads(text[text.index("[") :])  # behind the form, in a mixed workload
    except ValueError:
        return
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") in _KINDS:
                yield _KINDS[part["type"]], json.dumps(part, sort_keys=True)


def _message(message: Any, *, local: bool) -> Any:
    if not isinstance(message, Mapping) or not isinstance(message.get("content"), (list, tuple)):
        return message
    return {**message, "content": [_part(part, local=local) for part in message["content"]]}


def _part(part: Any, *, local: bool) -> Any:
    """One part of a message; text and what is unknown here stay as they are."""
    if not isinstance(part, Mapping) or part.get("type") not in _KINDS or part["type"] == "input_audio":
        return part
    name = part["type"]
    given = part.get(name)
    url = given.get("url") if isinstance(given, Mapping) else given
    if not isinstance(url, (str, os.PathLike)):
        raise UnusableError(f"has a part {name!r} without a URL: {shown(part)}")
    rest = dict(given) if isinstance(given, Mapping) else {}
    return {**part, name: {**rest, "url": _data_url(_KINDS[name], os.fspath(url), local=local)}}


def _data_url(kind: str, url: str, *, local: bool) -> str:
    if url.startswith("data:"):
        return url
    where = urlsplit(url)
    if where.scheme and where.scheme != "file" and "://" in url:
        raise UnusableError(
            f"has {kind} {shown(url)}: fetching it would be a part of what is measured; save it and name the file"
        )
    if not local:
        raise UnusableError(f"has {kind} {shown(url)}: write it as a data: URL; other files are not read from here")
    return _read(kind, Path(unquote(where.path) if where.scheme == "file" else url))


def _read(kind: str, path: Path) -> str:
    """A file as a `data:` URL."""
    form = mimetypes.guess_type(path.name)[0] or ""
    if not form.startswith(f"{kind}/"):
        raise UnusableError(f"has {kind} {shown(str(path))}, whose name does not end as that of {kind} does")
    try:
        size = path.stat().st_size
        content = b"" if size > _MOST_BYTES else path.read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UnusableError(f"has {kind} {shown(str(path))}, which cannot be read: {why}") from None
    if size > _MOST_BYTES:
        raise UnusableError(f"has {kind} {shown(str(path))} of {size >> 20} MiB; the limit is {_MOST_BYTES >> 20} MiB")
    return f"data:{form};base64,{base64.b64encode(content).decode()}"
