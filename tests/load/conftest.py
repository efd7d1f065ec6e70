"""Fixtures for the load generator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.load.scripted import Scripted, scripted_server


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Scripted]:
    with scripted_server() as running:
        yield running


@pytest.fixture
def scripted(shared_server: Scripted) -> Scripted:
    """A server that knows nothing yet."""
    shared_server.ask("POST", "/reset")
    return shared_server
