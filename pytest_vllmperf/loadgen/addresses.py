"""`Address`: a server, its model, and what it takes to be let in; and where a URL leads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.loadgen.job import Server

_VISIBLE: Final = re.compile(r"[!-~]+")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?")
_PORTS: Final = {"http": 80, "https": 443}
_BASE: Final = "/v1"


@dataclass(frozen=True)
class Address:
    """A server, the model that it serves, and what it takes to be let in.

    Attributes:
        server: where it listens.
        model: the served name.
        api_key: sent as a bearer token; None for none.
        extra: fields that this server takes in the body besides OpenAI's, such as `return_token_ids`. They win over
            fields that a workload sets, but for the model, the input and whether the answer is streamed.
        vllm: whether it takes vLLM's own fields of sampling; another server may refuse a request for them.
        keep_alive: whether a connection serves more than one request.
    """

    server: Server
    model: str
    api_key: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict)
    vllm: bool = True
    keep_alive: bool = True


def server_of(url: str) -> Server:
    """Where a URL leads; without a path it is that of OpenAI's interface, `/v1`.

    Raises:
        SpecError: for a text that is no URL, another scheme than http and https, or a URL with a password or a query.
            Of the URL only scheme and host are shown.
    """
    if not _VISIBLE.fullmatch(url):
        raise SpecError("the endpoint's URL is empty, or has a blank, a line end or a sign that is not ASCII")
    try:
        parts = urlsplit(url)
        port, host = parts.port, unquote(parts.hostname or "")
    except ValueError as error:
        raise SpecError(
            f"the endpoint's URL is not valid: {error if '@' not in url else 'host or port is wrong'}"
        ) from None
    _check(parts, host)
    if port == 0:
        raise SpecError(f"{_shown(parts, host)} has port 0, on which nothing listens")
    tls = parts.scheme == "https"
    base = parts.path.rstrip("/") or _BASE
    return Server(host, port if port is not None else _PORTS[parts.scheme], tls, base)


def _check(parts: SplitResult, host: str) -> None:
    shown = _shown(parts, host)
    if parts.scheme not in _PORTS:
        raise SpecError(f"{shown}: an endpoint's URL begins with http:// or https://")
    if "@" in parts.netloc:
        raise SpecError(f"{shown}: a URL with a user or password ends up in logs; name a variable with api_key_env")
    if not _HOST.fullmatch(host):
        raise SpecError(f"{shown}: the URL has no host that can be looked up")
    if parts.query or parts.fragment:
        raise SpecError(f"{shown}: leave the URL's query and fragment out; it ends in a path such as /v1")


def _shown(parts: SplitResult, host: str) -> str:
    return f"{parts.scheme}://{host}" if host and parts.scheme in _PORTS else "the endpoint's URL"
