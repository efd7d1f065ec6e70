"""One iteration over HTTP: requests through the load generator, and what came back as a `RunResult`."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

from pytest_vllmperf.errors import EngineStartError
from pytest_vllmperf.loadgen.addresses import Address
from pytest_vllmperf.loadgen.job import Job, Limits
from pytest_vllmperf.records.answers import Answer
from pytest_vllmperf.records.engine import Sampling
from pytest_vllmperf.records.run import RequestRecord, RunResult
from pytest_vllmperf.records.scheduling import Drafting
from pytest_vllmperf.records.served import Served, ServerMetrics
from pytest_vllmperf.workload import Request

_NS = 1e-9


@dataclass(frozen=True)
class ServerUse:
    """What a server's processes took for one iteration; None for what cannot be known.

    Attributes:
        cpu_seconds: user and system time.
        resident_bytes: resident set afterwards.
        kernels_compiled: kernels and graphs that were compiled meanwhile.
        torch_peak_bytes: see `RunResult`.
        instructions: that its processes executed.
    """

    cpu_seconds: float | None = None
    resident_bytes: int | None = None
    kernels_compiled: int | None = None
    torch_peak_bytes: int | None = None
    instructions: float | None = None


@dataclass(frozen=True)
class Sent:
    """What was seen of the requests of one iteration.

    Attributes:
        served: by the client, and of the server's own figures.
        seconds: for how long requests were under way.
        valid_share: of answers that were to follow a schema, or called a tool; None where none was.
    """

    served: Served
    seconds: float
    valid_share: float | None = None


_EXTRA = ("uvloop", "httptools", "orjson", "prometheus_client", "jsonschema")
"""What the extra `serve` installs."""


def check_installed() -> None:
    """See that the load generator's libraries are installed.

    Raises:
        EngineStartError: naming those that are not.
    """
    if missing := [name for name in _EXTRA if find_spec(name) is None]:
        raise EngineStartError(
            f"the load generator needs {', '.join(missing)}, not found here; install pytest-vllmperf[serve]"
        )


def send(
    address: Address,
    requests: Sequence[Request],
    sampling: Sampling,
    timeout: float,
    on_tick: Callable[[float], None],
) -> Sent:
    """Send the requests once.

    Args:
        address: where they go.
        requests: of one iteration.
        sampling: how they are sent.
        timeout: seconds for all of them.
        on_tick: called now and then with the seconds so far; what it raises ends the client.

    Raises:
        EngineError: when the load generator itself cannot be run.
        WorkloadError: for a JSON schema or tools that are not valid themselves; nothing has been sent then.
    """
    # Here, and not above: what they import is in an extra, and a table of backends is read without it.
    from pytest_vllmperf.loadgen import client
    from pytest_vllmperf.loadgen.scrape import MetricsWatch
    from pytest_vllmperf.loadgen.validity import Judge

    job = _job(address, requests, sampling, timeout)
    judge = Judge(requests)
    watch = MetricsWatch(address.server, address.api_key)
    watch.start()
    try:
        result = client.run(job, on_tick)
    finally:
        seen = watch.stop()
    ends = [answer.end_ns for answer in result.answers]
    steady = result.steady_ns
    served = Served(
        audit=result.audit,
        answers=result.answers,
        failures=result.failures,
        server=seen.metrics,
        in_flight=result.in_flight,
        steady=None if steady is None else (steady[0] * _NS, steady[1] * _NS),
        notes=(*result.notes, *seen.notes),
    )
    seconds = (max(ends, default=result.start_ns) - result.start_ns) * _NS
    return Sent(served, seconds, judge.judge(result.answers).share)


def _job(address: Address, requests: Sequence[Request], sampling: Sampling, timeout: float) -> Job:
    """What the load generator has to know of one iteration."""
    from pytest_vllmperf.loadgen.calls import calls

    schedule = sampling.arrivals.schedule(len(requests), sampling.seed)
    address = replace(address, keep_alive=sampling.keep_alive)
    return Job(
        server=address.server,
        calls=calls(requests, address, sampling, schedule, stream=sampling.stream),
        concurrency=None if schedule is not None else sampling.concurrency or len(requests),
        keep_alive=sampling.keep_alive,
        processes=sampling.client_processes,
        limits=Limits(total=timeout, send_for=sampling.send_for),
    )


def run_result(sent: Sent, use: ServerUse) -> RunResult:
    """What was seen of one iteration, as metrics and validity rules read it.

    Args:
        sent: what was seen.
        use: what the server's processes took.
    """
    served = sent.served
    server = served.server or ServerMetrics()
    gaps: array[int] = array("q")
    for answer in served.answers:
        if not answer.failure:
            gaps.extend(token_gaps(answer))
    return RunResult(
        requests=tuple(_record(answer) for answer in served.answers),
        itl_ns=gaps,
        engine_steps=None,
        preemptions=_whole(server.preemptions),
        prefix_cache_hit_tokens=_whole(server.prefix_hits),
        cpu_seconds=use.cpu_seconds,
        resident_bytes=use.resident_bytes,
        busy_seconds=sent.seconds,
        kernels_compiled=use.kernels_compiled,
        torch_peak_bytes=use.torch_peak_bytes,
        instructions=use.instructions,
        served=served,
        valid_share=sent.valid_share,
        drafting=_drafting(server),
    )


def _drafting(server: ServerMetrics) -> Drafting | None:
    """What speculative decoding did; None where the server does not tell, or proposed nothing."""
    if not server.draft_tokens or server.accepted_tokens is None:
        return None
    return Drafting(server.drafts, server.draft_tokens, server.accepted_tokens)


def token_gaps(answer: Answer) -> array[int]:
    """The gap before each token but the first piece's, in nanoseconds; empty where tokens cannot be told from pieces.

    A piece of several tokens, as speculative decoding sends them, shares its gap among them.
    """
    gaps: array[int] = array("q")
    for gap, tokens in zip(answer.gaps_ns, answer.piece_tokens[1:], strict=False):
        if tokens > 0:
            gaps.extend([gap // tokens] * tokens)
    return gaps


def _record(answer: Answer) -> RequestRecord:
    sound = not answer.failure and answer.first_ns is not None and answer.last_ns is not None
    first, last = (answer.first_ns or 0, answer.last_ns or 0) if sound else (0, 0)
    return RequestRecord(
        index=answer.index,
        prompt_tokens=answer.prompt_tokens or 0,
        output_tokens=answer.output_tokens if answer.output_tokens is not None else len(answer.gaps_ns) + 1,
        cached_tokens=answer.cached_tokens or 0,
        finish_reason=(answer.finish_reason or "stop") if sound else None,
        queued_ts=answer.due_ns * _NS,
        scheduled_ts=None,
        first_token_ts=first * _NS,
        last_token_ts=last * _NS,
        answer=answer,
    )


def _whole(number: float | None) -> int | None:
    return None if number is None else round(number)
