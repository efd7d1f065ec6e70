"""`server_of`: where a URL leads, and which URLs are refused without showing what is secret in them."""

import pytest

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.loadgen.addresses import server_of
from pytest_vllmperf.loadgen.job import Server


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://127.0.0.1:8000/v1", Server("127.0.0.1", 8000)),
        ("http://127.0.0.1:8000", Server("127.0.0.1", 8000)),
        ("http://127.0.0.1:8000/", Server("127.0.0.1", 8000)),
        ("https://api.example.com/v1/", Server("api.example.com", 443, True)),
        ("HTTP://Example.com", Server("example.com", 80)),
        ("https://example.com:8443/openai/v1", Server("example.com", 8443, True, "/openai/v1")),
        ("http://[::1]:8000/v1", Server("::1", 8000)),
        ("http://[fe80::1%25eth0]/v1", Server("fe80::1%eth0", 80)),
    ],
)
def test_a_url_leads_somewhere(url: str, server: Server) -> None:
    assert server_of(url) == server


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "empty"),
        ("localhost:8000/v1", "begins with http"),
        ("ftp://example.com", "begins with http"),
        ("http://", "no valid host"),
        ("http:///v1", "no valid host"),
        ("http://exa mple.com", "space"),
        ("http://example.com/v1\r\nX-Evil: 1", "line break"),
        ("http://ex\u00e4mple.com", "ASCII"),
        ("http://example.com:99999/v1", "URL is not valid"),
        ("http://example.com:port/v1", "URL is not valid"),
        ("http://example.com:0/v1", "port 0"),
        ("http://[::1/v1", "URL is not valid"),
        ("http://a;b/v1", "no valid host"),
        ("http://user:hunter2@example.com/v1", "user or password"),
        ("http://hunter2@example.com:nine/v1", "host or port"),
        ("http://example.com/v1?key=hunter2", "query"),
        ("http://example.com/v1#hunter2", "query and fragment"),
    ],
)
def test_what_is_refused_is_said_in_a_line_without_secrets(url: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        server_of(url)
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).isprintable()
