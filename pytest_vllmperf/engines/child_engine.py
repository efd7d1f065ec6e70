"""An engine in a child process, forked from its interpreter's server process: vLLM, or the reference."""

from __future__ import annotations

import os
import re
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_vllmperf.engines import log
from pytest_vllmperf.engines.channel import ChannelClosed, ChannelTimeout, OnTick
from pytest_vllmperf.engines.endings import OomKills, memory_shortage, oom_kills
from pytest_vllmperf.engines.forkserver import Child, ForkServer, Library
from pytest_vllmperf.engines.hints import with_hint
from pytest_vllmperf.engines.watch import GRACE_S, Watch
from pytest_vllmperf.errors import (
    EngineDiedError,
    EngineError,
    EngineStartError,
    EngineTimeoutError,
    EngineUnsupportedError,
    WorkloadError,
)
from pytest_vllmperf.models.checkpoint import tensor_bytes
from pytest_vllmperf.models.kv_cache import kv_bytes_per_token
from pytest_vllmperf.records.engine import (
    EngineFacts,
    MemoryFacts,
    Progress,
    Sampling,
    Timeouts,
    WeightFacts,
    WeightLayers,
)
from pytest_vllmperf.records.run import RunResult
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Request

_EXIT_NEWS_S = 2.0
_DOING = {"usage": "run"}
"""What a person calls an operation, where that is not its own name."""
# What vLLM, torch and bitsandbytes say of a format or kernel that a build or device does not have.
_UNSUPPORTED = re.compile(
    "not supported|unsupported|does not support|doesn't support|not implemented|unknown quantization method"
    "|minimum capability|compute capability"
    "|_OpNamespace.* has no attribute|no kernel|failed to find a kernel|requires (a )?(gpu|cuda)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Program:
    """What kind of engine a child runs.

    Attributes:
        library: what its server process imports.
        script: the child's module.
        engine: the parent's side of it, with the operations that the script knows.
        own_arguments: whether it takes arguments besides the library's engine arguments, so that only the child can
            tell which ones exist.
    """

    library: Library
    script: str
    engine: type[ChildEngine]
    own_arguments: bool = False


class ChildEngine(ABC):
    """A live engine process: its life, and its line protocol; ready once `load` has returned."""

    def __init__(
        self, spec: EngineSpec, program: Program, server: ForkServer, child: Child, timeouts: Timeouts
    ) -> None:
        self.spec = spec
        self.facts: EngineFacts
        self._program = program
        self._server = server
        self._child = child
        self._timeouts = timeouts
        self._watch: Watch | None = None
        self._closed = False
        self._failed = False

    @property
    def pid(self) -> int:
        """The process that holds the model, leader of the group that all of the engine's processes belong to."""
        return self._child.pid

    def load(self, model: str, progress: Progress) -> None:
        """Have the child load the model and tell what came up.

        Args:
            model: the model's path or hub name, after built-in names have been resolved.
            progress: told the phase of loading, at once and then with every tick.

        Raises:
            EngineUnsupportedError: when the library says that this build or device cannot run it.
            EngineStartError: in the library's own words when it refuses, else with its log's tail.
        """

        def shown(waited: float) -> None:
            progress(log.phase(log.read_end(self._child.log)), waited)

        shown(0.0)  # an engine may be up before the first tick
        try:
            answer = self._call(self._load_request(model), self._timeouts.start, shown)
        except EngineTimeoutError as error:
            raise EngineStartError(
                f"{self.spec.name} did not start within {self._timeouts.start:g} s; raise "
                f"vllmperf_start_timeout if it needs longer",
                error.log_tail,
            ) from None
        except EngineDiedError as error:
            raise EngineStartError(str(error), error.log_tail) from None
        if "error" in answer:
            reason, tail = self._reason(answer["error"]), self._log_tail()
            self.kill()
            kind = EngineUnsupportedError if _UNSUPPORTED.search(reason) else EngineStartError
            refusal = f"{self._program.library.label} refused {self.spec.name}"
            raise kind(f"{refusal}: {with_hint(reason, answer['error']['message'])}", tail)
        self._watch = Watch(self.pid)
        told = self._take_facts(answer["ok"])
        declared, dtype = told["weights"]["declared"], told["resolved"].get("dtype")
        facts = {**told, "stored_bytes": tensor_bytes(model, None if declared else dtype)}
        self.facts = engine_facts(facts, self._server.import_seconds, log.read_end(self._child.log))

    def _load_request(self, model: str) -> dict[str, Any]:
        """What the child is asked first."""
        return {"op": "load", "model": model, "engine_args": self.spec.args}

    def _take_facts(self, told: dict[str, Any]) -> dict[str, Any]:
        """What the child told of its engine; a kind of engine may keep a part of it for itself."""
        return told

    @abstractmethod
    def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
        """Send the requests once and wait for all of them."""

    def check_alive(self) -> None:
        """See that all of the engine's processes live, while something else than its channel is waited for.

        Raises:
            EngineDiedError: when one does not.
        """
        if not Path(f"/proc/{self.pid}").exists():
            self.ask({"op": "usage"})
        if self._watch is not None and (name := self._watch.overdue()) is not None:
            died = self._core_died(name, "run", oom_kills(), 0)
            self.kill()
            raise died

    def ask(self, message: dict[str, Any]) -> Any:
        """One operation of a running engine, with what it refuses told as an error of ours."""
        watch, before, written = self._watch, oom_kills(), log.size(self._child.log)

        def on_tick(_: float) -> None:
            if watch is not None and (name := watch.overdue()) is not None:
                raise self._core_died(name, message["op"], before, written)

        answer = self._call(message, self._timeouts.operation, on_tick)
        if "error" not in answer:
            return answer["ok"]
        if watch is not None and (name := watch.dead()) is not None:
            died = self._core_died(name, message["op"], before, written)
            self.kill()
            raise died
        reason = f"{self.spec.name}: {self._reason(answer['error'])}"
        if answer["error"]["type"] == "ValueError":
            raise WorkloadError(reason)
        kind = EngineUnsupportedError if _UNSUPPORTED.search(reason) else EngineError
        raise kind(reason, self._log_tail())

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
        if not self._failed:
            with suppress(OSError):
                self._child.log.unlink(missing_ok=True)

    def _call(self, message: dict[str, Any], timeout: float, on_tick: OnTick | None = None) -> dict[str, Any]:
        """One operation and its answer, with what can go wrong on the way told as an engine's error."""
        if self._closed:
            raise EngineDiedError(f"{self.spec.name} is already stopped")
        before = oom_kills()
        try:
            return self._child.channel.ask(message, timeout, on_tick)
        except ChannelClosed:
            self._server.wait_exit(self._child, _EXIT_NEWS_S)
            died = self._died(message["op"], before)
            self.kill()
            raise died from None
        except ChannelTimeout:
            tail = self._log_tail()
            self.kill()
            raise EngineTimeoutError(
                f"{self.spec.name}: {message['op']} took longer than {timeout:g} s and the engine was stopped; "
                f"raise vllmperf_operation_timeout if it needs longer",
                tail,
            ) from None
        except BaseException:
            self.kill()  # Ctrl-C: the answer will never be read, so the engine is of no more use
            raise

    def _died(self, operation: str, before: OomKills) -> EngineDiedError:
        """The error for an engine whose own process has ended.

        One that ends in order has done so because of another process: a server stops once its engine core is dead.
        """
        watch = self._watch if self._child.exit_code == 0 else None
        if watch is not None and (name := watch.dead_within(GRACE_S)) is not None:
            return self._core_died(name, operation, before, 0)
        how = self._server.ending(self._child, _DOING.get(operation, operation), before)
        return EngineDiedError(f"{self.spec.name}: the engine process {how}", self._log_tail())

    def _reason(self, error: dict[str, str]) -> str:
        """Why an operation failed, from vLLM's other processes where its own message leaves that to them."""
        told = _refusal(error)
        return (log.root_cause(log.read_end(self._child.log)) or told) if log.points_elsewhere(told) else told

    def _core_died(self, name: str, operation: str, before: OomKills, written: int) -> EngineDiedError:
        """The error for a process of vLLM's that died while the engine's own lives on.

        Args:
            name: vLLM's name for it.
            operation: what was asked of the engine.
            before: what `oom_kills` had counted by then.
            written: how long the log was by then.
        """
        why, doing = memory_shortage(before), _DOING.get(operation, operation)
        reason = f"was killed because memory ran out ({why})" if why else "died"
        said = None if why else log.root_cause(log.read_end(self._child.log, since=written))
        told = f"{self.spec.name}: {self._program.library.label}'s process {name} {reason} during {doing}"
        return EngineDiedError(f"{told}: {said}" if said else told, self._log_tail())

    def _log_tail(self) -> str:
        """The end of the log of an engine that failed; it is kept."""
        self._failed = True
        return log.kept_tail(self._child.log)


def start_child(
    spec: EngineSpec,
    program: Program,
    model: str,
    server: ForkServer,
    folder: Path,
    timeouts: Timeouts,
    progress: Progress,
) -> ChildEngine:
    """Start an engine process and load the model.

    Args:
        spec: what to run.
        program: what the child runs.
        model: the model's path or hub name, after built-in names have been resolved.
        server: of the spec's interpreter and the program's library, ready.
        folder: for the engine's log.
        timeouts: start, operation and shutdown.
        progress: told the phase of loading.

    Raises:
        EngineStartError: when it does not come up.
    """
    log_file = folder / f"engine-{spec.key}-{time.monotonic_ns()}.log"
    child = server.fork(program.script, log_file)
    engine = program.engine(spec, program, server, child, timeouts)
    engine.load(model, progress)
    return engine


def _refusal(error: dict[str, str]) -> str:
    """VLLM's message in one line: of a pydantic report the reason alone."""
    lines = [line.strip() for line in error["message"].splitlines() if line.strip()]
    reasons = [line for line in lines if line.startswith(("Value error, ", "Assertion failed, "))]
    chosen = reasons[0].split(", ", 1)[1] if reasons else " ".join(lines[:2])
    return log.cut(chosen.split(" [type=")[0], log.MESSAGE_CHARACTERS) or error["type"]


def engine_facts(told: dict[str, Any], import_seconds: float, log_text: str) -> EngineFacts:
    """What a child told of its engine, as a record."""
    total = told.pop("load_seconds")
    load_time = {"import": import_seconds, "total": total}
    weights_seconds = log.weights_seconds(log_text)
    if weights_seconds is not None:
        load_time |= {"weights": weights_seconds, "rest": total - weights_seconds}
    special = tuple(told.pop("special_token_ids"))
    weights = told.pop("weights")
    layers = tuple(WeightLayers(**layer) for layer in weights.pop("layers"))
    facts = WeightFacts(**weights, layers=layers, stored_bytes=told.pop("stored_bytes"))
    memory = told.pop("memory", None)
    return EngineFacts(
        load_time=load_time,
        special_token_ids=special,
        weights=facts,
        memory=None if memory is None else MemoryFacts(**memory),
        expected_kv_bytes_per_token=_expected_kv_bytes(told.pop("kv_config", None), told["resolved"], facts.declared),
        **told,
    )


def _expected_kv_bytes(
    config: dict[str, Any] | None, resolved: dict[str, Any], declared: Mapping[str, Any]
) -> int | None:
    """KV bytes a token by the model's configuration; the cache is of the model's dtype unless it has its own.

    Unknown where the checkpoint asks for a cache of its own kind and vLLM does not tell what became of that.
    """
    own = str(resolved.get("kv_cache_dtype") or "auto")
    if config is None or (own == "auto" and _quantizes_cache(declared)):
        return None
    dtype = str(resolved.get("dtype")) if own == "auto" else own
    return kv_bytes_per_token(config, dtype, int(resolved.get("tensor_parallel_size") or 1))


def _quantizes_cache(declared: Mapping[str, Any]) -> bool:
    inner = declared.get("quantization")  # where ModelOpt keeps it
    places = (declared, inner if isinstance(inner, Mapping) else {})
    return any(place.get(name) for place in places for name in ("kv_cache_scheme", "kv_cache_quant_algo"))
