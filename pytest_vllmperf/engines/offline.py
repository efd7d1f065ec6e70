"""The offline engine: `vllm.LLM` in a child process, forked from its interpreter's server process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_vllmperf.engines import log
from pytest_vllmperf.engines.base import Progress, Sampling, Timeouts, run_result
from pytest_vllmperf.engines.channel import ChannelClosed, ChannelTimeout
from pytest_vllmperf.engines.forkserver import Child, ForkServer
from pytest_vllmperf.errors import (
    EngineDiedError,
    EngineError,
    EngineStartError,
    EngineTimeoutError,
    SpecError,
    WorkloadError,
)
from pytest_vllmperf.metrics.records import EngineFacts, RunResult
from pytest_vllmperf.spec import EngineSpec
from pytest_vllmperf.workload import Request

_SCRIPT = "vllmperf_offline"
_EXIT_NEWS_S = 2.0


class OfflineEngine:
    """A live engine process. Made by `start_offline`."""

    def __init__(self, spec: EngineSpec, server: ForkServer, child: Child, timeouts: Timeouts) -> None:
        self.spec = spec
        self.facts: EngineFacts
        self._server = server
        self._child = child
        self._timeouts = timeouts
        self._closed = False

    @property
    def pid(self) -> int:
        """The process that holds `vllm.LLM`, leader of the group that all of the engine's processes belong to."""
        return self._child.pid

    def load(self, model: str, progress: Progress) -> None:
        """Have the child start vLLM and tell what came up.

        Raises:
            EngineStartError: in vLLM's own words when it refuses, else with its log's tail.
        """
        shown = lambda waited: progress(log.phase(log.read_end(self._child.log)), waited)  # noqa: E731
        request = {"op": "load", "model": model, "engine_args": self.spec.args}
        try:
            answer = self._call(request, self._timeouts.start, shown)
        except EngineTimeoutError as error:
            raise EngineStartError(
                f"{self.spec.name} was not up within {self._timeouts.start:g} s; raise vllmperf_start_timeout if it "
                "needs longer",
                error.log_tail,
            ) from None
        except EngineDiedError as error:
            raise EngineStartError(str(error), error.log_tail) from None
        if "error" in answer:
            self.kill()
            raise EngineStartError(f"vLLM refused {self.spec.name}: {_refusal(answer['error'])}", self._log_tail())
        self.facts = _facts(answer["ok"], self._server.import_seconds, log.read_end(self._child.log))

    def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
        """Send the requests once and wait for all of them.

        Raises:
            WorkloadError: when a request does not fit the engine.
            EngineDiedError: when the engine's process ends meanwhile.
            EngineTimeoutError: when it takes longer than the operation's time-out; the engine is ended.
        """
        options = asdict(sampling)
        answer = self._call(
            {
                "op": "run",
                "requests": [request.to_wire() for request in requests],
                "concurrency": options.pop("concurrency"),
                "sampling": options,
            },
            self._timeouts.operation,
        )
        if "error" in answer:
            message = f"{self.spec.name}: {_refusal(answer['error'])}"
            if answer["error"]["type"] == "ValueError":
                raise WorkloadError(message)
            raise EngineError(message, self._log_tail())
        return run_result(answer["ok"], requests)

    def reset_prefix_cache(self) -> None:
        """Forget the KV blocks of earlier prompts.

        Raises:
            EngineError: when vLLM declines, as it does while a block is in use.
        """
        answer = self._call({"op": "reset_prefix_cache"}, self._timeouts.operation)
        if answer.get("ok") is not True:
            raise EngineError(f"{self.spec.name}: the prefix cache could not be reset; a block is still in use")

    def close(self) -> None:
        """Ask vLLM to stop, then make sure that all its processes are gone."""
        if not self._closed:
            with suppress(EngineError):  # it is ended below either way
                self._call({"op": "shutdown"}, self._timeouts.shutdown)
                self._server.wait_exit(self._child, self._timeouts.shutdown)
        self.kill()

    def kill(self) -> None:
        """End the process group and wait until its leader has been reaped."""
        if self._closed:
            return
        self._closed = True
        if self._child.exit_code is None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._server.wait_exit(self._child, self._timeouts.shutdown)
        self._child.channel.close()

    def _call(
        self, message: dict[str, Any], timeout: float, on_tick: Callable[[float], None] | None = None
    ) -> dict[str, Any]:
        """One operation and its answer, with what can go wrong on the way told as an engine's error."""
        if self._closed:
            raise EngineDiedError(f"{self.spec.name} has been stopped already")
        try:
            self._child.channel.send(message)
            return self._child.channel.receive(timeout, on_tick)
        except ChannelClosed:
            self._server.wait_exit(self._child, _EXIT_NEWS_S)
            how = _ending(self._child.exit_code)
            self.kill()
            raise EngineDiedError(
                f"{self.spec.name}: the engine process {how} during {message['op']}", self._log_tail()
            ) from None
        except ChannelTimeout:
            self.kill()
            raise EngineTimeoutError(
                f"{self.spec.name}: {message['op']} took longer than {timeout:g} s; the engine was ended "
                "(vllmperf_operation_timeout)",
                self._log_tail(),
            ) from None
        except BaseException:
            self.kill()  # Ctrl-C: the answer will never be read, so the engine is of no more use
            raise

    def _log_tail(self) -> str:
        return log.tail(self._child.log)


def start_offline(
    spec: EngineSpec, model: str, server: ForkServer, folder: Path, timeouts: Timeouts, progress: Progress
) -> OfflineEngine:
    """Start an engine process and load the model.

    Args:
        spec: what to run.
        model: the model's path or hub name, after built-in names have been resolved.
        server: of the spec's interpreter, ready.
        folder: for the engine's log.
        timeouts: start, operation and shutdown.
        progress: told the phase of loading.

    Raises:
        SpecError: for an argument that would take the timestamps away.
        EngineStartError: when it does not come up.
    """
    if spec.args.get("disable_log_stats"):
        raise SpecError("disable_log_stats=True takes away the timestamps that a measurement is made of; leave it out")
    _check_model_path(model)
    log_file = folder / f"engine-{spec.key}-{time.monotonic_ns()}.log"
    child = server.fork(_SCRIPT, log_file)
    engine = OfflineEngine(spec, server, child, timeouts)
    engine.load(model, progress)
    return engine


def _check_model_path(model: str) -> None:
    """Only what can be nothing but a path; everything else is vLLM's to find."""
    if model.startswith(("/", "./", "../", "~")) and not Path(model).expanduser().exists():
        raise EngineStartError(f"the model path {model} does not exist")


def _refusal(error: dict[str, str]) -> str:
    """VLLM's message in one line: of a pydantic report the reason alone."""
    lines = [line.strip() for line in error["message"].splitlines() if line.strip()]
    reasons = [line for line in lines if line.startswith(("Value error, ", "Assertion failed, "))]
    chosen = reasons[0].split(", ", 1)[1] if reasons else " ".join(lines[:2])
    return chosen.split(" [type=")[0] or error["type"]


def _ending(exit_code: int | None) -> str:
    if exit_code is None:
        return "went away"
    if exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"


def _facts(told: dict[str, Any], import_seconds: float, log_text: str) -> EngineFacts:
    total = told.pop("load_seconds")
    load_time = {"import": import_seconds, "total": total}
    weights = log.weights_seconds(log_text)
    if weights is not None:
        load_time |= {"weights": weights, "rest": total - weights}
    special = tuple(told.pop("special_token_ids"))
    return EngineFacts(load_time=load_time, special_token_ids=special, **told)
