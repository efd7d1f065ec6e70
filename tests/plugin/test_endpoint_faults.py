"""Every fault of a server is counted and named, the run ends, and nothing is recorded; what only looks odd is sound."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.loadgen.scripted import Scripted, scripted_server
from tests.plugin.service import SCRIPT, Service

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

FAILED = r"INVALID  test_chat: 2 of 6 requests failed in iteration 1 \(2 {kind}\); request \d: {detail}"
# Of three requests one each; what is said of the first of them is in words that a person can act on.
FAULTS = {
    "reset": ({"fault": "die"}, "cut", ".*reset"),
    "half-close": ({"fault": "half-close"}, "cut", ".*ended"),
    "closed without an answer": ({"fault": "no-answer"}, "cut", ".*"),
    "500": ({"fault": "500"}, "status", "HTTP 500: scripted failure"),
    "429": ({"fault": "429"}, "shed", r"HTTP 429: scripted \(Retry-After: 7\)"),
    "redirect": ({"fault": "redirect"}, "redirect", "HTTP 307: redirected to http://127.0.0.1:1/elsewhere"),
    "malformed event": ({"fault": "malformed"}, "malformed", ".*JSON"),
    "malformed chunk": ({"fault": "bad-chunk"}, "malformed", ".*"),
    "not HTTP": ({"fault": "not-http"}, "malformed", ".*HTTP"),
    "error in the body of a 200": ({"fault": "error-body"}, "error", ".*scripted failure"),
    "error event": ({"fault": "error-event"}, "error", ".*scripted failure"),
}
SLOW_FAULTS = {
    "stall": ({"fault": "stall"}, "deadline", ".*"),
    "no head": ({"fault": "hold"}, "deadline", ".*"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_failed_requests_are_counted_and_named(service: Service, fault: str) -> None:
    script, kind, detail = FAULTS[fault]
    service.conduct({}, script, {})
    service.chat()
    _void(service, FAILED.format(kind=kind, detail=detail))


@pytest.mark.parametrize("fault", SLOW_FAULTS)
def test_a_server_that_falls_silent_ends_with_the_operations_time(service: Service, fault: str) -> None:
    script, kind, detail = SLOW_FAULTS[fault]
    service.conduct({}, script, {})
    service.chat()
    _void(service, FAILED.format(kind=kind, detail=detail), "--vllmperf-operation-timeout=1")


def test_in_a_worker_too(service: Service) -> None:
    service.conduct({}, {"fault": "error-event"}, {})
    service.chat()
    _void(service, FAILED.format(kind="error", detail=".*scripted failure"), "-n", "1")


def test_kinds_are_counted_each(service: Service, workers: list[str]) -> None:
    service.conduct({"fault": "500"}, {"fault": "500"}, {"fault": "die"})
    service.chat()
    _void(service, r"INVALID  test_chat: 6 of 6 requests failed in iteration 1 \(2 cut, 4 status\); ", *workers)


def test_a_server_that_ends_in_mid_stream(project: Project, workers: list[str]) -> None:
    with scripted_server() as mortal:
        service = Service(project, mortal)
        service.conduct({}, {"fault": "exit"})
        service.chat(work="WORK.at(concurrency=1)")
        # One whose connection was made before the end may be cut as well.
        _void(service, r"INVALID  test_chat: 5 of 6 requests failed in iteration 1 \(\d connect, \d cut\); ", *workers)


def test_faults_on_an_update_keep_the_baseline_that_there_was(service: Service, workers: list[str]) -> None:
    service.chat()
    service.record()
    before = service.project.files()
    service.conduct({}, {"fault": "429"}, {})
    result = service.project.run("--vllmperf-update", *workers)
    result.assert_outcomes(failed=1)
    assert service.project.files() == before


def test_tokens_that_nobody_counted(service: Service, workers: list[str]) -> None:
    service.conduct({"usage": False})
    service.chat()
    _void(
        service, "INVALID  test_chat: in iteration 1 the server did not report how many tokens it generated, ", *workers
    )


def test_fewer_tokens_than_asked_for(service: Service, workers: list[str]) -> None:
    service.conduct({"fault": "fewer"})
    service.chat()
    _void(service, "INVALID  test_chat: a request returned 2 output tokens instead of 5 ", *workers)


def test_a_certificate_that_nobody_trusts(service: Service, tls_server: Scripted, workers: list[str]) -> None:
    service.chat(url=f"https://127.0.0.1:{tls_server.port}/v1")
    where = f"the endpoint 127.0.0.1:{tls_server.port} does not answer: "
    _void(service, where + ".*(self-signed|unable to get local issuer)", *workers)


def test_tls_where_none_is_spoken(service: Service) -> None:
    service.chat(url=f"https://127.0.0.1:{service.server.port}/v1")
    _void(service, f"the endpoint 127.0.0.1:{service.server.port} does not answer: ")


@pytest.mark.usefixtures("trusted")
def test_a_certificate_that_is_trusted(service: Service, tls_server: Scripted, workers: list[str]) -> None:
    then = "assert (run.output_tokens, run.failed_requests) == (6 * 5, 0)"
    service.chat(then=then, url=f"https://127.0.0.1:{tls_server.port}/v1")
    service.project.run("--vllmperf", *workers).assert_outcomes(passed=1)


SOUND: dict[str, tuple[dict[str, Any], str]] = {
    "CRLF": ({"crlf": True}, "WORK"),
    "comments": ({"fault": "comments"}, "WORK"),
    "split in a character": ({"fault": "utf8-split"}, "WORK"),
    "a byte at a time": ({"split": 1}, "WORK"),
    "until the connection ends": ({"framing": "close"}, "WORK"),
    "gzip": ({"fault": "gzip", "tokens": 5}, "WORK.streamed(False)"),
    "trailers": ({"fault": "trailers"}, "WORK"),
    "103 before it": ({"fault": "interim"}, "WORK"),
    "a chunk with the role": ({}, "Workload.chat([[{'role': 'user', 'content': 'x'}]] * 6, output_tokens=5)"),
}


@pytest.mark.parametrize("way", SOUND)
def test_what_only_looks_odd_is_measured_right(service: Service, way: str) -> None:
    script, work = SOUND[way]
    service.conduct(script)
    service.chat(work=work)
    service.record()
    assert _figures(service, "output_tokens") == {6 * 5}
    assert _figures(service, "prompt_tokens") == {6 * 8}
    assert _figures(service, "failed_requests") == {0}
    assert min(_figures(service, "ttft.p50")) >= SCRIPT["ttft"]
    if "streamed" not in work:
        # A busy machine stretches a gap, and hands over several tokens at once; the sum of the gaps stays.
        rest = min(e2e - SCRIPT["ttft"] for e2e in _figures(service, "service.p50"))
        assert rest >= 2 * SCRIPT["gap"]
        paces = _figures(service, "tpot.p50")
        assert SCRIPT["gap"] / 2 < max(paces)
        assert min(paces) < SCRIPT["gap"] * 4


def test_a_proxy_is_ignored_and_that_is_said(
    service: Service, workers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://me:gateway-pass-lapis@127.0.0.1:9")
    service.chat()
    result = service.record(*workers)
    told = [line for line in result.outlines if "http_proxy" in line]
    assert told == ["http_proxy: ignored; requests are sent to the server directly"]
    assert "lapis" not in str(result.stdout)
    assert _figures(service, "failed_requests") == {0}


def _figures(service: Service, metric: str) -> set[float]:
    """The values of a metric in the recorded session."""
    engines = service.stored()["sessions"][0]["engines"]
    return {value for engine in engines for value in engine["samples"].get(metric, ())}


def _void(service: Service, pattern: str, *args: str) -> None:
    """Try to record; the test fails for this reason, and nothing is recorded."""
    before = service.project.files()
    result = service.project.run("--vllmperf-update", *args)
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    told = "\n".join(line.strip() for line in result.outlines).replace("\n", " ")
    assert re.search(pattern, told), told
    result.stdout.no_fnmatch_line("*fixture.py*")
    result.stdout.no_fnmatch_line("*Traceback*")
    assert service.project.files() == before
