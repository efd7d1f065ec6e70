"""Endpoints: what is refused before anything is sent, and what a server that does not fit is told of."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.engines.backends import BACKENDS
from pytest_vllmperf.engines.endpoint import EndpointEngine
from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.errors import EngineStartError, SpecError
from pytest_vllmperf.records.engine import Timeouts
from pytest_vllmperf.records.spec import EngineSpec

KEY = "sk-0123456789"
MODELS = {"data": [{"id": "m", "max_model_len": 512}, {"id": "adapter"}]}


class Listing(BaseHTTPRequestHandler):
    """A server that lists models to whoever has the key."""

    answer: Any = MODELS
    status = 200

    def do_GET(self) -> None:
        allowed = self.headers.get("Authorization") == f"Bearer {KEY}"
        pages = {"/v1/models": self.answer, "/version": {"version": "9.9"}}
        found = pages.get(self.path)
        content = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(self.status if allowed else 401)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nobody looks."""


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setenv("GATEWAY_KEY", KEY)
    monkeypatch.setattr(Listing, "answer", MODELS)
    monkeypatch.setattr(Listing, "status", 200)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Listing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def endpoint(port: int, model: str = "m", **given: Any) -> EngineSpec:
    arguments = {"url": f"http://127.0.0.1:{port}/v1", "api_key_env": "GATEWAY_KEY", **given}
    return EngineSpec.create(model, backend="endpoint", **arguments)


def started(spec: EngineSpec) -> EndpointEngine:
    engine = Launcher(Timeouts()).start(spec, {}, lambda doing, waited: None)
    assert isinstance(engine, EndpointEngine)
    return engine


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "needs url="),
        ({"url": 8000}, "needs url="),
        ({"url": "127.0.0.1:8000"}, "http"),
        ({"url": "http://h/v1", "max_num_seqs": 8}, "an endpoint has no max_num_seqs="),
        ({"url": "http://h/v1", "api_key_env": "sk-live-123"}, "must name an environment variable"),
    ],
)
def test_what_is_no_endpoint_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        BACKENDS.checked(EngineSpec.create("m", backend="endpoint", **arguments))
    assert "sk-live-123" not in str(caught.value)


def test_what_a_server_says_of_its_model(listing: ThreadingHTTPServer) -> None:
    engine = started(endpoint(listing.server_port, vocab_size=500))
    assert (engine.facts.max_model_len, engine.facts.vocab_size) == (512, 500)
    assert engine.facts.versions == {"server": "9.9"}
    assert engine.facts.device_name == f"127.0.0.1:{listing.server_port}"
    assert KEY not in repr(engine.address)
    assert engine.address.api_key == KEY


def test_a_model_without_a_length_and_a_name_of_its_own(listing: ThreadingHTTPServer) -> None:
    engine = started(endpoint(listing.server_port, "adapter", name="gateway"))
    assert engine.facts.max_model_len > 10**9
    assert engine.facts.device_name == "gateway"


def test_a_model_that_is_not_served_is_named_with_those_that_are(listing: ThreadingHTTPServer) -> None:
    with pytest.raises(EngineStartError, match=r"does not serve the model 'other'; it serves 'm', 'adapter'$"):
        started(endpoint(listing.server_port, "other"))


def test_a_wrong_key_is_refused_and_not_shown(listing: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_KEY", "sk-wrong")
    with pytest.raises(
        EngineStartError,
        match=r"rejects the API key \(HTTP 401\); check the variable named by "
        "api_key_env=",
    ) as caught:
        started(endpoint(listing.server_port))
    assert "sk-wrong" not in str(caught.value)


def test_a_variable_that_is_not_set(listing: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_KEY")
    with pytest.raises(EngineStartError, match="the environment variable GATEWAY_KEY is not set"):
        started(endpoint(listing.server_port))


@pytest.mark.parametrize("answer", [b"<html>", {"models": []}, [1], b"\xff", {"data": 3}])
def test_a_server_of_another_kind(listing: ThreadingHTTPServer, answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Listing, "answer", answer)
    with pytest.raises(EngineStartError, match="lists no models at /v1/models"):
        started(endpoint(listing.server_port))


def test_nothing_that_listens(listing: ThreadingHTTPServer) -> None:
    port = listing.server_port
    listing.shutdown()
    listing.server_close()
    with pytest.raises(EngineStartError, match=f"the endpoint 127.0.0.1:{port} does not answer: Connection refused"):
        started(endpoint(port))


def test_a_proxy_is_never_asked(listing: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert started(endpoint(listing.server_port)).facts.max_model_len == 512


def test_an_endpoint_is_neither_started_nor_stopped(listing: ThreadingHTTPServer, tmp_path: Path) -> None:
    engine = started(endpoint(listing.server_port))
    assert engine.pid is None
    engine.close()
    engine.kill()
    assert started(endpoint(listing.server_port)).facts.max_model_len == 512


@pytest.mark.parametrize(("vllm", "own"), [(True, {"return_token_ids": True}), (False, {})])
def test_vllms_own_fields_are_sent_to_vllm_alone(
    listing: ThreadingHTTPServer, vllm: bool, own: dict[str, bool]
) -> None:
    """Ids of tokens tell tokens from pieces, and those that have no text."""
    address = started(endpoint(listing.server_port, vllm=vllm)).address
    assert (address.vllm, address.extra) == (vllm, own)
