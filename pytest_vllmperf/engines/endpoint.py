"""An endpoint: any OpenAI-compatible server that runs already. It is measured, never started or stopped."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from pytest_vllmperf.engines import over_http
from pytest_vllmperf.engines.over_http import ServerUse
from pytest_vllmperf.engines.starting import Start
from pytest_vllmperf.errors import EngineStartError, SpecError
from pytest_vllmperf.loadgen.addresses import Address, server_of
from pytest_vllmperf.loadgen.listing import ServedModel, served_model
from pytest_vllmperf.records.engine import EngineFacts, Sampling, Timeouts
from pytest_vllmperf.records.run import RunResult
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Request

_ARGUMENTS = ("url", "api_key_env", "name", "vocab_size", "vllm")
_VOCABULARY = 1000
_SPECIAL = tuple(range(100))
"""Ids that synthetic prompts avoid: most tokenizers keep their special tokens and bytes there."""
_VARIABLE = re.compile("[A-Z]+(_[A-Z0-9]{1,20})*")
"""A name that is surely no key."""
_ANY_LENGTH = 2**31 - 1


class EndpointEngine:
    """A server that runs already.

    Args:
        spec: its arguments are the endpoint's.
        address: where it listens.
        listed: what it says of the model.
        timeouts: of operations.
    """

    def __init__(self, spec: EngineSpec, address: Address, listed: ServedModel, timeouts: Timeouts) -> None:
        self.spec = spec
        self.address = address
        self._timeouts = timeouts
        self.facts = EngineFacts(
            device="endpoint",
            device_name=spec.args.get("name") or f"{address.server.host}:{address.server.port}",
            max_model_len=listed.max_model_len or _ANY_LENGTH,
            vocab_size=int(spec.args.get("vocab_size") or _VOCABULARY),
            special_token_ids=_SPECIAL,
            prefix_caching=False,
            load_time={},
            kv_cache_tokens=None,
            kv_cache_bytes=None,
            versions={"server": listed.version} if listed.version else {},
        )

    @property
    def pid(self) -> None:
        """None: its processes are not ours."""
        return

    def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
        """Send the requests once, and wait for all of them.

        Raises:
            EngineError: when the load generator cannot be run.
        """
        sent = over_http.send(self.address, requests, sampling, self._timeouts.operation, lambda _: None)
        return over_http.run_result(sent, ServerUse())

    def close(self) -> None:
        """Nothing: the server is not ours."""

    def kill(self) -> None:
        """Nothing: the server is not ours."""


def check_arguments(spec: EngineSpec) -> None:
    """Refuse arguments that no endpoint can have.

    Raises:
        SpecError: for an unknown argument, a URL that is not valid, or an `api_key_env` that is no name of a variable.
    """
    for name in spec.args:
        if name not in _ARGUMENTS:
            raise SpecError(f"an endpoint has no {name}=; it takes {', '.join(_ARGUMENTS)}")
    if not isinstance(spec.args.get("url"), str):
        raise SpecError("an endpoint needs url=, such as 'http://127.0.0.1:8000/v1'")
    server_of(spec.args["url"])
    variable = spec.args.get("api_key_env")
    if variable is not None and (not isinstance(variable, str) or not variable.isidentifier()):
        raise SpecError("api_key_env= is the name of an environment variable that holds the key, never the key itself")


def start(start: Start) -> EndpointEngine:
    """Look whether the server answers, and serves the model.

    Raises:
        EngineStartError: when it does not.
    """
    over_http.check_installed()
    spec = start.spec
    args: dict[str, Any] = spec.args
    vllm = bool(args.get("vllm", True))
    own = {"return_token_ids": True} if vllm else {}  # tells tokens from pieces, and those that have no text
    address = Address(server_of(args["url"]), spec.model, _key(spec, start), extra=own, vllm=vllm)
    return EndpointEngine(spec, address, served_model(address), start.timeouts)


def _key(spec: EngineSpec, start: Start) -> str | None:
    variable = spec.args.get("api_key_env")
    if variable is None:
        return None
    key = {**os.environ, **dict(start.env)}.get(variable)
    if not key:
        # A word of other letters may well be the key itself.
        named = variable if _VARIABLE.fullmatch(variable) else "that api_key_env= names"
        raise EngineStartError(f"{spec.name}: the environment variable {named} is not set; it holds the endpoint's key")
    return key
