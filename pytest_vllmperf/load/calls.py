"""Requests of a workload as calls: HTTP requests that are ready to be sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_vllmperf.load.job import Call, Server
from pytest_vllmperf.records.engine import Sampling
from pytest_vllmperf.workload import Request


@dataclass(frozen=True)
class Address:
    """A server, the model that it serves, and what it takes to be let in.

    Attributes:
        server: where it listens.
        model: the served name.
        api_key: sent as a bearer token; None for none.
        extra: fields that this server takes in the body besides OpenAI's, such as `return_token_ids`.
    """

    server: Server
    model: str
    api_key: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict)


def server_of(url: str) -> Server:
    """Where a URL leads.

    Raises:
        SpecError: for a URL that is none, has another scheme than http and https, or holds a password.
    """
    raise NotImplementedError


def calls(
    requests: Sequence[Request],
    address: Address,
    sampling: Sampling,
    schedule: Sequence[int] | None,
    *,
    stream: bool = True,
) -> tuple[Call, ...]:
    """Requests as calls.

    Args:
        requests: of one iteration.
        address: where they go.
        sampling: how tokens are chosen.
        schedule: when each is due, in nanoseconds from the start; None for a closed loop.
        stream: whether answers are to come as events.
    """
    raise NotImplementedError
