"""What a server says of itself: the models that it serves, and its version."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any

from pytest_vllmperf.errors import EngineStartError
from pytest_vllmperf.loadgen.addresses import Address

_TIMEOUT_S = 10.0
_LARGEST = 4 << 20
_SHOWN = 5


@dataclass(frozen=True)
class ServedModel:
    """A model as its server lists it.

    Attributes:
        max_model_len: the longest prompt plus output, in tokens; None where the server does not tell.
        version: of the server; empty where it does not tell.
    """

    max_model_len: int | None = None
    version: str = ""


def served_model(address: Address) -> ServedModel:
    """Ask a server for the model that is to be measured.

    Raises:
        EngineStartError: when it does not answer, refuses the key, or does not serve the model.
    """
    where = f"{address.server.host}:{address.server.port}"
    status, found = _get(address, f"{address.server.base}/models")
    if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        raise EngineStartError(
            f"the endpoint {where} refuses the key (HTTP {status}); api_key_env= names the variable that holds it"
        )
    listed = found.get("data") if isinstance(found, dict) else None
    if status != http.client.OK or not isinstance(listed, list):
        raise EngineStartError(
            f"the endpoint {where} lists no models at {address.server.base}/models (HTTP {status}); is that the path "
            "of an OpenAI-compatible server?"
        )
    models = {str(one.get("id")): one for one in listed if isinstance(one, dict)}
    if address.model not in models:
        names = ", ".join(repr(name) for name in list(models)[:_SHOWN]) or "none"
        raise EngineStartError(f"the endpoint {where} does not serve the model {address.model!r}; it serves {names}")
    length = models[address.model].get("max_model_len")
    return ServedModel(length if isinstance(length, int) and length > 0 else None, _version(address))


def _version(address: Address) -> str:
    """By vLLM's own page; empty for a server without one."""
    try:
        _, found = _get(address, "/version")
    except EngineStartError:
        return ""
    version = found.get("version") if isinstance(found, dict) else None
    return version if isinstance(version, str) else ""


def _get(address: Address, path: str) -> tuple[int, Any]:
    """The status and the JSON of a page; None for what is no JSON. A proxy is never used."""
    server = address.server
    connection = (
        http.client.HTTPSConnection(server.host, server.port, timeout=_TIMEOUT_S, context=ssl.create_default_context())
        if server.tls
        else http.client.HTTPConnection(server.host, server.port, timeout=_TIMEOUT_S)
    )
    headers = {} if address.api_key is None else {"Authorization": f"Bearer {address.api_key}"}
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        content = response.read(_LARGEST)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
        raise EngineStartError(f"the endpoint {server.host}:{server.port} does not answer: {reason}") from None
    finally:
        connection.close()
    try:
        return response.status, json.loads(content)
    except ValueError:
        return response.status, None
