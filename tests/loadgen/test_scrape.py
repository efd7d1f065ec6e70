"""`MetricsWatch`: `/metrics` of servers that answer, refuse, stop answering or never end; over TCP and TLS."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from pytest_vllmperf.loadgen.job import Server
from pytest_vllmperf.loadgen.scrape import MetricsWatch, Watched

KEY = "sk-secret"
LINE = 'vllm:generation_tokens_total{{engine="0"}} {tokens}\nvllm:num_requests_running{{engine="0"}} {running}\n'


class Scripted:
    """A server whose `/metrics` is made by a function of how often it was asked."""

    def __init__(self, answer: Callable[[int, BaseHTTPRequestHandler], None], context: ssl.SSLContext | None) -> None:
        self.asked = 0
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.often = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked += 1
                outer.headers.append(dict(self.headers.items()))
                outer.paths.append(self.path)
                if outer.asked >= 4:
                    outer.often.set()
                answer(outer.asked, self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        if context is not None:
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.server = Server("127.0.0.1", self.http.server_port, tls=context is not None)


@contextmanager
def serving(
    answer: Callable[[int, BaseHTTPRequestHandler], None], context: ssl.SSLContext | None = None
) -> Iterator[Scripted]:
    scripted = Scripted(answer, context)
    thread = threading.Thread(target=scripted.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield scripted
    finally:
        scripted.http.shutdown()
        scripted.http.server_close()
        thread.join()


def send(
    handler: BaseHTTPRequestHandler, text: str, status: int = 200, *, short_of: int = 0, closing: bool = False
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(text) + short_of))
    handler.end_headers()
    handler.wfile.write(text.encode())
    handler.close_connection = closing or bool(short_of)


def rising(asked: int, handler: BaseHTTPRequestHandler) -> None:
    send(handler, LINE.format(tokens=10 * asked, running=asked) + "python_info 1.0\n")


def watched(scripted: Scripted, *, wait: bool = True) -> Watched:
    watch = MetricsWatch(scripted.server, KEY, every=0.01, timeout=1.0)
    watch.start()
    if wait:
        assert scripted.often.wait(30)
    return watch.stop()


def test_before_after_and_in_between() -> None:
    with serving(rising) as scripted:
        seen = watched(scripted)
    assert seen.notes == ()
    assert seen.metrics is not None
    assert seen.metrics.generation_tokens == 10 * (scripted.asked - 1)
    assert seen.metrics.running_after == scripted.asked
    assert seen.metrics.running_max == scripted.asked - 1
    assert scripted.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert scripted.headers[0]["Host"] == f"127.0.0.1:{scripted.server.port}"


def test_a_run_without_a_sample_has_no_maxima() -> None:
    with serving(rising) as scripted:
        watch = MetricsWatch(scripted.server, every=60.0)
        watch.start()
        seen = watch.stop()
    assert seen.metrics is not None
    assert (seen.metrics.generation_tokens, seen.metrics.running_max) == (10, None)
    assert "Authorization" not in scripted.headers[0]


@pytest.mark.parametrize(
    ("base", "path"), [("/v1", "/metrics"), ("/api/v1/", "/api/metrics"), ("/other", "/other/metrics")]
)
def test_metrics_stand_beside_the_interface(base: str, path: str) -> None:
    with serving(rising) as scripted:
        watch = MetricsWatch(Server("127.0.0.1", scripted.server.port, base=base), every=60.0)
        watch.start()
        watch.stop()
    assert set(scripted.paths) == {path}


def test_over_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with serving(rising, context) as scripted:
        untrusted = watched(scripted, wait=False)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        trusted = watched(scripted)
    assert untrusted.metrics is None
    assert "certificate verify failed" in untrusted.notes[0]
    assert trusted.metrics is not None


def test_a_server_without_metrics_is_asked_once() -> None:
    with serving(lambda asked, handler: send(handler, "", 404)) as scripted:
        seen = watched(scripted, wait=False)
    assert seen == Watched(None, ("no figures of the server: /metrics answers HTTP 404",))
    assert scripted.asked == 1


def test_another_server_has_none_of_the_figures() -> None:
    with serving(lambda asked, handler: send(handler, "requests_total 5\n")) as scripted:
        seen = watched(scripted)
    assert seen == Watched(None, ("no figures of the server: its /metrics has none of vLLM's",))


def test_a_server_that_was_started_anew() -> None:
    with serving(
        lambda asked, handler: send(handler, LINE.format(tokens=100 if asked == 1 else 1, running=0))
    ) as scripted:
        seen = watched(scripted)
    assert seen.metrics is None
    assert "counters went backwards" in seen.notes[0]


def test_scrapes_that_fail_in_between_are_counted() -> None:
    def flaky(asked: int, handler: BaseHTTPRequestHandler) -> None:
        send(handler, "", 500) if asked == 2 else rising(asked, handler)

    with serving(flaky) as scripted:
        seen = watched(scripted)
    assert seen.metrics is not None
    assert seen.notes == ("1 of the server's /metrics did not come during the run",)


def test_a_connection_that_was_closed_meanwhile_is_opened_again() -> None:
    def closing(asked: int, handler: BaseHTTPRequestHandler) -> None:
        send(handler, LINE.format(tokens=asked, running=0), closing=True)

    with serving(closing) as scripted:
        seen = watched(scripted)
    assert seen.metrics is not None
    assert seen.notes == ()


def test_an_answer_that_is_cut_short_is_none() -> None:
    with serving(lambda asked, handler: send(handler, LINE.format(tokens=1, running=1), short_of=10)) as scripted:
        seen = watched(scripted, wait=False)
    assert seen.metrics is None
    assert "cannot be read" in seen.notes[0]


def test_a_text_of_another_format_is_a_note() -> None:
    with serving(lambda asked, handler: send(handler, "vllm:num_requests_running{ x\n")) as scripted:
        seen = watched(scripted)
    assert seen.metrics is None
    assert len(seen.notes) == 1


def test_a_server_that_is_not_there() -> None:
    with serving(rising) as scripted:
        server = scripted.server
    watch = MetricsWatch(server, KEY)
    watch.start()
    seen = watch.stop()
    assert seen.metrics is None
    assert "/metrics cannot be read" in seen.notes[0]


@pytest.mark.parametrize(
    ("drip", "words"),
    [
        (b"", "timed out"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "it does not end"),
        (b"HTTP/1.1 200 OK\r\nX: ", "did not end in time"),
    ],
)
def test_a_server_that_never_ends_holds_nobody(drip: bytes, words: str) -> None:
    release = threading.Event()

    def endless(asked: int, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(drip)
        while drip and not release.wait(0.02):
            try:
                handler.wfile.write(b"x")
            except OSError:
                return
        release.wait(30)

    with serving(endless) as scripted:
        watch = MetricsWatch(scripted.server, every=0.01, timeout=0.1)
        watch.start()
        seen = watch.stop()
        release.set()
    assert seen.metrics is None
    assert words in seen.notes[0]
