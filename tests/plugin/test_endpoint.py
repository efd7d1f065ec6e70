"""A server that runs already is measured, recorded and judged; what is wrong with it is one line."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.service import Service

KEY = "gateway-pass-lapis"
WIDE = "--vllmperf-margin=60%"
SLOWER = {"ttft": 0.15, "gap": 0.04}


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine on which nothing listens, and nothing else can."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_recorded_judged_and_found_slower(service: Service, workers: list[str]) -> None:
    service.chat()
    result = service.record(*workers)
    result.stdout.fnmatch_lines(["*vllmperf: endpoint-gateway*", "test_chat  RECORDED*"])
    engines = service.stored()["sessions"][0]["engines"]
    assert len(engines) == 3
    for engine in engines:
        assert engine["samples"]["output_tokens"] == [6 * 5]
        assert engine["samples"]["failed_requests"] == [0]
        assert engine["samples"]["ttft.p50"][0] >= 0.03
    before = service.project.files()
    result = service.project.run("--vllmperf", WIDE, *workers)
    result.assert_outcomes(passed=1)
    assert any(re.match("test_chat  (OK|NOISY) ", line) for line in result.outlines)  # on a busy machine
    service.conduct(SLOWER)
    result = service.project.run("--vllmperf", WIDE, *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED *, margin *", "* -> *", "test_chat  REGRESSED*"])
    assert service.project.files() == before


def test_its_folder_is_host_and_port_without_a_name(service: Service) -> None:
    service.chat(name=None)
    service.record()
    assert service.stored(f"endpoint-127.0.0.1-{service.server.port}")


def test_an_engine_and_an_endpoint_are_one_too_many(service: Service, workers: list[str]) -> None:
    service.module("""
def test_both(vllmperf):
    vllmperf.measure(WORK, engine=vllmperf.engine("sim", backend="simulated"), endpoint=endpoint(vllmperf))
""")
    _fails_with(service, "measure() takes engine= or endpoint=, not both", *workers)


@pytest.mark.parametrize("variable", ["WEATHER", "GATEWAY_API_KEY"])
def test_the_key_is_sent_and_stands_nowhere(
    service: Service, variable: str, workers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, KEY)
    service.conduct({}, key=KEY)
    service.chat(api_key_env=variable)
    outputs = ("-rA", "-l", "-vv", "--junitxml=report.xml", *workers)
    told = [service.record(*outputs)]
    # What a test prints and fails with, and what stands in its variables.
    then = f"import os; key = os.environ[{variable!r}]; print('sent', key); vllmperf.check(run); assert key == run"
    service.chat(then=then, api_key_env=variable)
    told.append(service.project.run("--vllmperf", "--tb=long", *outputs))
    told[-1].assert_outcomes(failed=1)
    told[-1].stdout.fnmatch_lines(["*sent [*][*][*]*"])
    _holds_no_key(service, *told)


def test_a_key_that_is_refused_is_one_line(
    service: Service, workers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEATHER", KEY)
    service.conduct({}, key="another one")
    service.chat(api_key_env="WEATHER")
    words = f"the endpoint 127.0.0.1:{service.server.port} refuses the key (HTTP 401); api_key_env= names the variable"
    _holds_no_key(service, _fails_with(service, words, "-l", "--junitxml=report.xml", *workers))
    service.chat()
    _fails_with(service, words)


def test_a_key_whose_variable_is_not_set(service: Service, workers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEATHER", raising=False)
    service.chat(api_key_env="WEATHER")
    _fails_with(service, "the environment variable WEATHER is not set; it holds", *workers)
    monkeypatch.setenv("WEATHER", "")
    _fails_with(service, "the environment variable WEATHER is not set; it holds")


@pytest.mark.parametrize(
    "key", [KEY, "sk_live_0123456789abcdef_lapis", "SKLIVE0123456789ABCDEF", "0123456789abcdeflapis"]
)
def test_the_key_itself_in_the_place_of_its_variable(service: Service, key: str, workers: list[str]) -> None:
    service.chat(api_key_env=key)
    result = _fails_with(service, "api_key_env", "-l", "--tb=long", "--junitxml=report.xml", *workers)
    report = (service.project.root / "report.xml").read_text()
    assert all(key not in text for text in (str(result.stdout), str(result.stderr), report))


def test_a_model_that_is_not_served(service: Service, workers: list[str]) -> None:
    service.chat(model="other")
    where = f"the endpoint 127.0.0.1:{service.server.port}"
    _fails_with(service, f"{where} does not serve the model 'other'; it serves 'scripted'", *workers)


def test_a_path_without_models(service: Service) -> None:
    service.chat(url=f"{service.url}/nothing")
    _fails_with(service, "lists no models at /v1/nothing/models (HTTP 404)")


def test_a_port_on_which_nothing_listens(service: Service, closed_port: int, workers: list[str]) -> None:
    service.chat(url=f"http://127.0.0.1:{closed_port}/v1")
    _fails_with(service, f"the endpoint 127.0.0.1:{closed_port} does not answer: Connection refused", *workers)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://127.0.0.1/v1", "an endpoint's URL begins with http:// or https://"),
        ("127.0.0.1:8000/v1", "an endpoint's URL begins with http:// or https://"),
        ("http://127.0.0.1:port/v1", "the endpoint's URL is not valid: "),
        ("http:///v1", "the URL has no host that can be looked up"),
        ("http://127.0.0.1:0", "has port 0, on which nothing listens"),
        ("http://127.0.0.1/v1?key=gateway-pass-lapis", "leave the URL's query and fragment out"),
        ("http://me:gateway-pass-lapis@127.0.0.1/v1", "a URL with a user or password ends up in logs"),
        ("", "the endpoint's URL is empty"),
        (8000, "an endpoint needs url=, such as 'http://127.0.0.1:8000/v1'"),
    ],
)
def test_a_url_that_is_none(service: Service, url: object, words: str) -> None:
    service.chat(url=url)
    result = _fails_with(service, words, "-l")
    assert KEY not in str(result.stdout)


def test_an_argument_that_endpoints_do_not_have(service: Service, workers: list[str]) -> None:
    service.project.module(f"""
@pytest.mark.vllm("scripted", backend="endpoint", url={service.url!r}, max_num_seqs=4)
def test_chat(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))
""")
    result = service.project.run("--vllmperf-update", *workers)
    # In a worker the marker of a test is an error of its setup.
    assert result.ret == (pytest.ExitCode.TESTS_FAILED if workers else pytest.ExitCode.USAGE_ERROR)
    told = f"{result.stdout}{result.stderr}"
    assert "an endpoint has no max_num_seqs=; it takes url, api_key_env, name, vocab_size, vllm" in told
    assert service.project.files() == {}


def _fails_with(service: Service, words: str, *args: str) -> pytest.RunResult:
    """Run a test that cannot measure; it fails with these words in its one line, and nothing is recorded."""
    result = service.project.run("--vllmperf-update", "-rf", *args)
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    told = [line for line in result.outlines if line.startswith("FAILED ")]
    assert len(told) == 1
    assert words in " ".join(line.strip() for line in result.outlines)
    result.stdout.no_fnmatch_line("*fixture.py*")
    result.stdout.no_fnmatch_line("*Traceback*")
    assert service.project.files() == {}
    return result


def _holds_no_key(service: Service, *results: pytest.RunResult) -> None:
    """No output and no file holds the key."""
    files = [file.read_bytes() for file in service.project.root.rglob("*") if file.is_file()]
    texts = [text for result in results for text in (str(result.stdout), str(result.stderr))]
    assert [text for text in (*files, *map(str.encode, texts)) if KEY.encode() in text] == []
