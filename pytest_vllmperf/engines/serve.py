"""The served engine: `vllm serve` in a child process, driven over HTTP."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from pytest_vllmperf.engines import over_http
from pytest_vllmperf.engines.adapters import check_adapters
from pytest_vllmperf.engines.child_engine import Program
from pytest_vllmperf.engines.offline import VLLM, VllmOperations
from pytest_vllmperf.engines.over_http import ServerUse
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.loadgen.addresses import Address
from pytest_vllmperf.loadgen.job import Server
from pytest_vllmperf.records.engine import Progress, Sampling
from pytest_vllmperf.records.run import RunResult
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Request

_HOST = "127.0.0.1"
_OURS = ("host", "port", "uds", "api_key", "root_path", "ssl_keyfile", "ssl_certfile", "ssl_ca_certs")
_ONE: dict[str, tuple[object, ...]] = {"api_server_count": (None, 1), "data_parallel_size": (None, 1)}
_ONE |= dict.fromkeys(("headless", "grpc"), (None, False))
"""Arguments by which there might be several server processes or none, with the values that mean one."""


class ServedEngine(VllmOperations):
    """A server in a process of its own. It listens on the loopback alone, and lets in whoever has its random key."""

    def load(self, model: str, progress: Progress) -> None:
        """Start the server, and wait until it is healthy.

        Raises:
            EngineUnsupportedError: when vLLM says that this build or device cannot run it.
            EngineStartError: in vLLM's own words when it refuses, else with its log's tail.
        """
        over_http.check_installed()
        self._key = secrets.token_urlsafe(32)
        self._port = 0
        self._model = model
        super().load(model, progress)

    def _load_request(self, model: str) -> dict[str, Any]:
        return {**super()._load_request(model), "api_key": self._key}

    def _take_facts(self, told: dict[str, Any]) -> dict[str, Any]:
        self._port = told.pop("port")
        return told

    @property
    def address(self) -> Address:
        """Where it listens."""
        names = self.spec.args.get("served_model_name")
        name = names[0] if isinstance(names, list) and names else names or self._model
        return Address(Server(_HOST, self._port), str(name), self._key, extra={"return_token_ids": True})

    def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
        """Send the requests once, over HTTP, and wait for all of them.

        Raises:
            EngineDiedError: when a process of the server's ends meanwhile.
            EngineTimeoutError: when an operation takes longer than its time-out; the engine is ended.
        """
        before = self.ask({"op": "usage"})
        sent = over_http.send(self.address, requests, sampling, self._timeouts.operation, lambda _: self.check_alive())
        after = self.ask({"op": "usage"})
        use = ServerUse(
            cpu_seconds=after["cpu_seconds"] - before["cpu_seconds"],
            resident_bytes=after["resident_bytes"],
            kernels_compiled=after.get("kernels_compiled"),
            torch_peak_bytes=after.get("torch_peak_bytes"),
            instructions=_difference(before.get("instructions"), after.get("instructions")),
        )
        return over_http.run_result(sent, use)


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def check_arguments(spec: EngineSpec) -> None:
    """Refuse what the plugin decides itself, and what would make a measurement impossible.

    Raises:
        SpecError: for such an argument.
    """
    for name in _OURS:
        if name in spec.args:
            raise SpecError(
                f"{name}= cannot be set for backend='serve': it uses a free port on the loopback interface and "
                f"a random key; to measure your own server, use vllmperf.endpoint(url)"
            )
    for name in _ONE:
        if spec.args.get(name) not in _ONE[name]:
            raise SpecError(
                f"{name}={spec.args[name]!r} is not supported by backend='serve', which runs one server "
                f"process; start the server yourself and measure it with vllmperf.endpoint(url)"
            )
    if spec.args.get("disable_log_stats"):
        raise SpecError("disable_log_stats=True removes the server's own figures; leave the argument out")
    check_adapters(spec)


PROGRAM = Program(VLLM, "vllmperf_serve", ServedEngine, own_arguments=True)
