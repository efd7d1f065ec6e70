"""What goes wrong at the socket is named, ends, and harms no other request."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from pytest_vllmperf.loadgen.job import Limits, Server
from tests.loadgen.scripted import Scripted, call, send

SHORT = Limits(connect=20.0, stall=0.3, total=30.0)


@pytest.mark.parametrize(
    ("fault", "failure", "detail"),
    [
        ("die", "cut", "the connection ended after"),
        ("half-close", "cut", "the connection ended after"),
        ("no-answer", "cut", "the connection ended without an answer"),
        ("stall", "stalled", "no byte for 0.3 s"),
        ("hold", "stalled", "no byte for 0.3 s"),
        ("not-http", "malformed", "not HTTP"),
        ("bad-chunk", "malformed", "not HTTP"),
    ],
)
def test_a_fault_is_named_and_the_next_request_is_well(
    scripted: Scripted, fault: str, failure: str, detail: str
) -> None:
    seen = send(scripted.server, [call(0, {"fault": fault}, tokens=8), call(1)], concurrency=1, limits=SHORT)
    assert seen.failures == [failure, ""]
    assert seen.exchanges[0].detail.startswith(detail)
    assert seen.exchanges[0].end_ns > (seen.exchanges[0].sent_ns or 0)


@pytest.mark.parametrize(("fault", "failure"), [("stall", "stalled"), ("die", "cut"), ("half-close", "")])
def test_a_body_that_ends_with_its_connection_is_over_only_when_that_ends_in_good_order(
    scripted: Scripted, fault: str, failure: str
) -> None:
    asked = call(0, {"fault": fault, "framing": "close", "gap": 0.01}, tokens=8)
    assert send(scripted.server, [asked], concurrency=1, limits=SHORT).failures == [failure]


def test_a_server_that_closes_each_connection_at_once_fails_each_request() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)

        def refuse() -> None:
            for _ in range(50 + 5):  # five are opened beforehand
                listener.accept()[0].close()

        refusing = threading.Thread(target=refuse)
        refusing.start()
        calls = [call(n) for n in range(50)]
        seen = send(Server("127.0.0.1", listener.getsockname()[1]), calls, concurrency=5)
        refusing.join()
    assert len(seen.failures) == 50
    assert set(seen.failures) <= {"cut", "sent"}


@pytest.mark.parametrize("fault", ["500", "429", "redirect", "malformed", "error-body", "error-event", "trailers"])
def test_an_answer_that_is_whole_is_no_fault_of_the_connection(scripted: Scripted, fault: str) -> None:
    before = scripted.told()["connections"]
    seen = send(scripted.server, [call(0, {"fault": fault}), call(1)], concurrency=1)
    assert seen.failures == ["", ""]
    assert scripted.told()["connections"] - before - 1 == 1


def test_a_stream_that_goes_on_slowly_is_not_stalled(scripted: Scripted) -> None:
    seen = send(scripted.server, [call(0, {"gap": 0.1}, tokens=8)], concurrency=1, limits=SHORT)
    assert seen.failures == [""]


def test_what_is_not_over_at_the_end_of_the_runs_time_is_given_up(scripted: Scripted) -> None:
    calls = [call(0, {"ttft": 30}, due_ns=0), call(1, due_ns=0), call(2, due_ns=0, after=0), call(3, due_ns=10**10)]
    seen = send(scripted.server, calls, limits=Limits(total=0.4))
    assert seen.failures == ["deadline", "", "cancelled"]
    assert seen.exchanges[2].sent_ns is None
    assert seen.notes == ["requests not sent, as they were not due before the time was over: 1"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_that_is_not_there_refuses_each_request() -> None:
    seen = send(Server("127.0.0.1", free_port()), [call(n) for n in range(3000)], concurrency=2)
    assert set(seen.failures) == {"connect"}
    assert len(seen.failures) == 3000
    assert "Connection refused" in seen.exchanges[0].detail
    assert seen.lags_ns == []


def test_a_host_that_does_not_exist_fails_each_request() -> None:
    seen = send(Server("no-such-host.invalid", 80), [call(0), call(1)], concurrency=2)
    assert seen.failures == ["connect", "connect"]
    assert "no-such-host.invalid" in seen.exchanges[0].detail


@contextmanager
def deaf() -> Iterator[int]:
    """A port whose connections are accepted by the kernel, and that never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


def test_a_handshake_that_does_not_end_is_given_up() -> None:
    with deaf() as port:
        limits = Limits(connect=0.3, total=20)
        seen = send(Server("127.0.0.1", port, tls=True), [call(0)], concurrency=1, limits=limits)
    assert seen.failures == ["tls"]
    assert seen.exchanges[0].detail == "the TLS handshake was not over within 0.3 s"


def test_a_server_that_does_not_take_the_request_is_stalled() -> None:
    with deaf() as port:
        asked = call(0, extra={"ignored": "x" * 30_000_000})
        seen = send(Server("127.0.0.1", port), [asked], concurrency=1, limits=SHORT)
    assert seen.failures == ["stalled"]


def test_tls_is_verified_by_the_systems_authorities(tls_server: Scripted) -> None:
    server = replace(tls_server.server, tls=True)
    seen = send(server, [call(0), call(1)], concurrency=1)
    assert seen.failures == ["tls", "tls"]
    assert "certificate" in seen.exchanges[0].detail


@pytest.mark.usefixtures("trusted")
def test_streams_come_over_tls_and_connections_are_used_again(tls_server: Scripted) -> None:
    server = replace(tls_server.server, tls=True)
    calls = [call(n, {"gap": 0.002}, tokens=5) for n in range(6)]
    seen = send(server, calls, concurrency=2)
    assert seen.failures == [""] * 6
    assert all(seen.body(n).count(b'"text"') == 5 for n in range(6))


@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_host_is_refused(tls_server: Scripted) -> None:
    seen = send(Server("localhost", tls_server.port, tls=True), [call(0)], concurrency=1)
    assert seen.failures == ["tls"]


def test_tls_to_a_server_that_speaks_http_fails(scripted: Scripted) -> None:
    seen = send(replace(scripted.server, tls=True), [call(0)], concurrency=1)
    assert seen.failures == ["tls"]


def test_a_connection_that_breaks_while_the_request_is_sent_is_named() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def refuse() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.close()  # with bytes that nobody has read: a reset

        refusing = threading.Thread(target=refuse)
        refusing.start()
        asked = call(0, extra={"ignored": "x" * 30_000_000})
        seen = send(Server("127.0.0.1", listener.getsockname()[1]), [asked], concurrency=1)
        refusing.join()
    assert seen.failures == ["sent"]
    assert seen.exchanges[0].detail.startswith("the connection broke before the request was sent whole")


def test_a_connection_that_nobody_takes_is_given_up() -> None:
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # the queue of the listener is full: further connections are not answered
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        limits = Limits(connect=0.3, total=20)
        seen = send(Server("127.0.0.1", listener.getsockname()[1]), [call(0)], concurrency=1, limits=limits)
    assert seen.failures == ["connect"]
    assert seen.exchanges[0].detail == "no connection within 0.3 s"
