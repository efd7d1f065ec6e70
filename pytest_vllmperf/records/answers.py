"""What a load generator saw of requests and of itself. Times are monotonic nanoseconds of one clock."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    """What came back for one request.

    Attributes:
        index: the request's place in the workload.
        due_ns: when it was to be sent: by the schedule, or in a closed loop when its place became free.
        sent_ns: when its bytes were handed to the socket; None where that never happened.
        first_ns: the first piece with content (of reasoning too), at the socket; None without one.
        first_answer_ns: the first piece with content that is no reasoning; None without one.
        last_ns: the last piece with content; None without one.
        end_ns: the end of the response, or when the request was given up.
        prompt_tokens: by the server's usage; None where it told none.
        cached_tokens: prompt tokens that the server had in its prefix cache; None where it told none.
        output_tokens: by the server's usage, else by token ids, else None.
        reasoning_tokens: of these, by the server's usage; None where it told none.
        gaps_ns: gaps between pieces with content, at the socket.
        piece_tokens: tokens of each piece with content, where the server told them by usage or ids, or where there are
            as many pieces as tokens; empty where that is not known.
        finish_reason: the server's word; None where it told none.
        status: of HTTP; None where no response began.
        failure: the kind of failure, a name in `FAILURES`; empty for a sound answer.
        detail: what happened, in words, without secrets; empty for a sound answer.
        retry_after: seconds that the server asked to wait for.
        server_ttft: seconds until the first token by the server's own metrics of the request; None where it told none.
        text: the answer, where it was to be kept.
        tool_calls: arguments of tool calls as the model wrote them, where they were to be kept.
    """

    index: int
    due_ns: int
    sent_ns: int | None = None
    first_ns: int | None = None
    first_answer_ns: int | None = None
    last_ns: int | None = None
    end_ns: int = 0
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    gaps_ns: array[int] = field(default_factory=lambda: array("q"))
    piece_tokens: array[int] = field(default_factory=lambda: array("q"))
    finish_reason: str | None = None
    status: int | None = None
    failure: str = ""
    detail: str = ""
    retry_after: float | None = None
    server_ttft: float | None = None
    text: str | None = None
    tool_calls: tuple[str, ...] = ()


FAILURES = (
    "connect",  # no connection: refused, unreachable, no such host
    "tls",  # the handshake failed
    "sent",  # the connection broke before the whole request was sent
    "status",  # any status that is not 2xx and has no name of its own
    "shed",  # 429 or 503: the server refuses load
    "redirect",  # 3xx: never followed
    "error",  # a 200 with an error in its body, or an error event in mid-stream
    "malformed",  # not HTTP, not an event stream, not JSON
    "cut",  # the connection ended before the response was complete
    "stalled",  # no byte for as long as a stream may pause
    "deadline",  # not over when the operation's time-out was
    "empty",  # a response without content
    "cancelled",  # given up by the client: the run ended, or its time budget
)
"""How a request can fail; each is counted by its name."""


@dataclass(frozen=True)
class ClientProcess:
    """What one process of the load generator says of itself.

    Attributes:
        cpu_share: CPU time over wall time while it sent and received.
        loop_delay_p99_ns: how late its event loop ran a timer, 99th percentile.
    """

    cpu_share: float
    loop_delay_p99_ns: int


@dataclass(frozen=True)
class ClientAudit:
    """Whether the load generator was the limit.

    Attributes:
        lag_p50_ns: sent - due of requests that were due at a time, or whose place had become free: median.
        lag_p99_ns: the same, 99th percentile.
        wanted_rate: requests/s of the schedule; None for a closed loop.
        achieved_rate: requests/s that were sent; None for a closed loop.
        processes: one for each process.
    """

    lag_p50_ns: int
    lag_p99_ns: int
    wanted_rate: float | None
    achieved_rate: float | None
    processes: tuple[ClientProcess, ...]


@dataclass(frozen=True)
class LoadResult:
    """One run of the load generator.

    Attributes:
        answers: one for each request that was due, in the order of the workload.
        audit: of the load generator itself.
        start_ns: when the schedule began.
        steady_ns: the window in which at least 95 % of a closed loop's concurrency was in flight; None without one.
        in_flight: (nanoseconds, requests in flight) at each change.
        notes: what a person should know, such as a proxy variable that was ignored.
    """

    answers: tuple[Answer, ...]
    audit: ClientAudit
    start_ns: int
    steady_ns: tuple[int, int] | None = None
    in_flight: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def failures(self) -> Mapping[str, int]:
        """How many requests failed, by kind; empty where none did."""
        counts: dict[str, int] = {}
        for answer in self.answers:
            if answer.failure:
                counts[answer.failure] = counts.get(answer.failure, 0) + 1
        return counts
