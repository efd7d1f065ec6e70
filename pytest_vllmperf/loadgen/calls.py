"""Requests of a workload as calls: HTTP requests that are ready to be sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from pytest_vllmperf.errors import SpecError, WorkloadError
from pytest_vllmperf.loadgen.addresses import Address
from pytest_vllmperf.loadgen.job import Api, Call, Server
from pytest_vllmperf.records.engine import Sampling
from pytest_vllmperf.workload import Request

_VISIBLE: Final = re.compile(r"[!-~]+")
_OWN: Final = frozenset({"model", "stream", "prompt", "messages"})
"""Fields that decide what is measured; nothing else may set them."""


def calls(
    requests: Sequence[Request],
    address: Address,
    sampling: Sampling,
    schedule: Sequence[int] | None,
    *,
    stream: bool = True,
) -> tuple[Call, ...]:
    """Requests as calls.

    Args:
        requests: of one iteration.
        address: where they go.
        sampling: how tokens are chosen.
        schedule: when each is due, in nanoseconds from the start; None for a closed loop.
        stream: whether answers are to come as events.

    Raises:
        SpecError: for a key, a model, an address or an extra field that cannot be sent.
        WorkloadError: for a request that cannot be sent, or a schedule of another length.
    """
    if schedule is not None and len(schedule) != len(requests):
        raise WorkloadError(f"a schedule of {len(schedule)} times for {len(requests)} requests")
    taken = sorted(_OWN & set(address.extra))
    if taken:
        raise SpecError(f"extra field {taken[0]!r} is set by the workload and the endpoint; leave it out of `extra`")
    _check_model(address.model)
    heads = {api: _head(address, api, stream=stream) for api in Api}
    made = []
    for place, request in enumerate(requests):
        api = Api.CHAT if request.messages is not None else Api.COMPLETIONS
        body = _encode(request, _body(request, address, sampling, stream=stream))
        head = b"%bContent-Length: %d\r\n\r\n" % (heads[api], len(body))
        made.append(_call(request, head, body, api, stream, None if schedule is None else schedule[place]))
    return tuple(made)


def _call(request: Request, head: bytes, body: bytes, api: Api, stream: bool, due_ns: int | None) -> Call:
    return Call(
        index=request.index,
        head=head,
        body=body,
        api=api,
        stream=stream,
        due_ns=due_ns,
        after=request.after,
        output_tokens=request.output_tokens,
        keep=bool(request.asked.json_schema or request.asked.tools),
    )


def host_header(server: Server) -> str:
    """The value of `Host`: brackets around an IPv6 address, and the port where it is not the scheme's own."""
    host = server.host.partition("%")[0]  # a zone means something on this machine only
    name = f"[{host}]" if ":" in host else host
    return name if server.port == (443 if server.tls else 80) else f"{name}:{server.port}"


def checked_key(key: str) -> str:
    """A key as it may stand in a header.

    Raises:
        SpecError: for a key that is empty or has a blank, a line end or a sign that is not ASCII; it is not shown.
    """
    if not _VISIBLE.fullmatch(key):
        raise SpecError("the API key is empty, or has a blank, a line end or a sign that is not ASCII: set it anew")
    return key


def _head(address: Address, api: Api, *, stream: bool) -> bytes:
    server = address.server
    path, host = f"{server.base.rstrip('/')}/{api.value}", host_header(server)
    if not _VISIBLE.fullmatch(path) or not _VISIBLE.fullmatch(host):
        raise SpecError(f"host {host!r} and path {path!r} must be of visible ASCII signs")
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: pytest-vllmperf",
        f"Accept: {'text/event-stream' if stream else 'application/json'}",
        "Accept-Encoding: identity",
        "Content-Type: application/json",
        f"Connection: {'keep-alive' if address.keep_alive else 'close'}",
    ]
    if address.api_key is not None:
        lines.append(f"Authorization: Bearer {checked_key(address.api_key)}")
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def _body(request: Request, address: Address, sampling: Sampling, *, stream: bool) -> dict[str, Any]:
    asked = request.asked
    if asked.model:
        _check_model(asked.model)
    body: dict[str, Any] = {"model": asked.model or address.model}
    if request.messages is not None:
        body["messages"] = [dict(message) for message in request.messages]
    else:
        body["prompt"] = request.prompt if request.prompt is not None else list(request.prompt_token_ids or ())
    body |= {"max_tokens": request.output_tokens, "temperature": sampling.temperature, "seed": sampling.seed}
    if sampling.ignore_eos and address.vllm:
        body |= {"ignore_eos": True, "min_tokens": request.output_tokens}
    body["stream"] = stream
    if stream:
        body["stream_options"] = {"include_usage": True}
    return body | _asked(request) | dict(address.extra)


def _asked(request: Request) -> dict[str, Any]:
    """The fields for what a request asks of a server besides."""
    asked, chat = request.asked, request.messages is not None
    fields: dict[str, Any] = {}
    if asked.json_schema:
        schema = _parse(request, "json_schema", asked.json_schema)
        wanted = {"name": "answer", "schema": schema, "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": wanted}
    if asked.tools:
        if not chat:
            raise WorkloadError(f"request {request.index} has tools but no messages: only chats can call tools")
        fields["tools"] = _parse(request, "tools", asked.tools)
    if asked.logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": asked.logprobs} if chat else {"logprobs": asked.logprobs}
    return fields


def _parse(request: Request, name: str, text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise WorkloadError(f"request {request.index}: its {name} is not JSON: {error}") from None


def _encode(request: Request, body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise WorkloadError(f"request {request.index} cannot be written as JSON: {error}") from None


def _check_model(model: str) -> None:
    if not model or not model.isprintable():
        raise SpecError(f"model {model!r} is empty or has control characters")
