"""`Job`: all that the load generator has to know, made before the first request is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Api(Enum):
    """Which of OpenAI's interfaces a request uses; the value is its path below `/v1`."""

    COMPLETIONS = "completions"
    CHAT = "chat/completions"


@dataclass(frozen=True)
class Server:
    """Where requests go.

    Attributes:
        host: name or address.
        port: of TCP.
        tls: whether the connection is encrypted; certificates are verified by the system's authorities.
        base: path in front of `/completions`, such as `/v1`.
    """

    host: str
    port: int
    tls: bool = False
    base: str = "/v1"


@dataclass(frozen=True)
class Call:
    """One request, ready to be sent.

    Attributes:
        index: the request's place in the workload.
        head: the head of the HTTP request, with the empty line that ends it. It may hold a key: never shown.
        body: JSON.
        api: which interface it uses.
        stream: whether the answer comes as events.
        due_ns: from the start of the run; None for a closed loop.
        after: index of the call that has to end first; None for none.
        output_tokens: tokens that it asks for.
        keep: whether the answer's text is to be kept.
    """

    index: int
    head: bytes = field(repr=False)
    body: bytes = field(repr=False)
    api: Api
    stream: bool = True
    due_ns: int | None = None
    after: int | None = None
    output_tokens: int = 0
    keep: bool = False


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds.

    Attributes:
        connect: for a connection, its TLS handshake included.
        stall: between two pieces of a response, and until the first.
        total: for the whole run; what is still on its way then is `deadline`.
        send_for: requests due later than this are not sent: a budget by time; None for all.
    """

    connect: float = 10.0
    stall: float = 120.0
    total: float = 600.0
    send_for: float | None = None


@dataclass(frozen=True)
class Job:
    """One run of the load generator.

    Attributes:
        server: where requests go.
        calls: in the order in which they are to be sent.
        concurrency: requests in flight at once of a closed loop; of an open loop None: never a limit.
        keep_alive: whether connections are used again; else each request opens its own.
        processes: client processes; None for as many as the measured cost of a request asks for.
        limits: how long things may take.
    """

    server: Server
    calls: tuple[Call, ...]
    concurrency: int | None = None
    keep_alive: bool = True
    processes: int | None = None
    limits: Limits = Limits()
