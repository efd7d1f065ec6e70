"""Fixtures: scripted servers. Imported by the `conftest.py` of tests that need them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.loadgen.scripted import Scripted, scripted_server


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Scripted]:
    with scripted_server() as running:
        yield running


@pytest.fixture
def scripted(shared_server: Scripted) -> Scripted:
    """A server that knows nothing yet."""
    shared_server.ask("POST", "/reset")
    return shared_server


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts unless they are told to."""
    return trustme.CA()


@pytest.fixture(scope="session")
def tls_server(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    """A scripted server behind TLS, whose certificate is for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for part in certificate.cert_chain_pems:
        part.write_to_path(folder / "cert.pem", append=True)
    with scripted_server("--tls", str(folder / "cert.pem"), str(folder / "key.pem")) as running:
        yield running


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authority is one of the system's."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
