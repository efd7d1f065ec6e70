"""A scripted engine with a clock of its own, for tests of this project and of its users' plugins.

No model runs, and no time passes unless its script says so: it never stands in for a result. It schedules as a
continuous-batching engine does, one step at a time, so that counters and timestamps belong together.
"""

from __future__ import annotations

import random
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_vllmperf.engines.simulated_gpu import SimulatedGpu, write_trace
from pytest_vllmperf.engines.simulated_memory import KV_BYTES_PER_TOKEN, SimulatedMemory
from pytest_vllmperf.engines.starting import Start
from pytest_vllmperf.errors import EngineDiedError, EngineStartError, ProfileError, WorkloadError
from pytest_vllmperf.records.engine import (
    Continuations,
    EngineFacts,
    RenderedChat,
    Sampling,
    TokenScores,
    WeightFacts,
    WeightLayers,
)
from pytest_vllmperf.records.kernels import RankUse
from pytest_vllmperf.records.run import RequestRecord, RunResult
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Message, Request

FAILURES = ("", "load", "run", "again", "short", "profile", "unprofiled")
_VOCABULARY = 1000
_WEIGHTS = 1000
_OTHER_NOISE = 1000
"""Added to the seed of an engine elsewhere: two engines that run in turns have noise of their own."""


@dataclass(frozen=True)
class Script:
    """The engine arguments of a simulated engine.

    Attributes:
        step_seconds: duration of one decoding step.
        prefill_seconds_per_token: added to a step for each prompt token that it computes.
        max_num_seqs: requests in one step.
        max_model_len: longest prompt plus output, in tokens.
        kv_cache_tokens: capacity told, where no argument says how large the cache is.
        gpu_memory_utilization: share of `memory_bytes` for weights and KV cache; None where another argument says it.
        kv_cache_memory_bytes: size of the KV cache; None where another argument says it.
        memory_bytes: of its device; an engine that takes more than others leave of it dies when it runs; 0: no limit.
        others_bytes: of `memory_bytes`, what others hold.
        noise: relative standard deviation of a step's duration.
        seed: of the noise.
        load_seconds: load time told.
        starts: factors on the duration of a step, one for each start of this engine in a run; the last one holds for
            all later starts.
        weight_bytes: told.
        quantization: told as asked for.
        bits: bits a weight told of its layers; 16 for layers that are not quantized.
        deviation: how far its log-probabilities are from the undisturbed engine's, and the share of its outputs'
            tokens, from the end, that differ.
        gpu_kernels: kernels of its GPU: name -> how often each runs in an iteration, and seconds that this takes; empty
            for an engine without a GPU.
        gpu_noise: relative standard deviation of the time of all kernels, between starts and between iterations.
        gpu_starts: factors on the time of all kernels, as `starts`.
        fail: one of "", "load" (refuses to start), "run" (dies in the first iteration), "again" (the same, from the
            second start on), "short" (ends every request one token early), "profile" (dies while it is profiled),
            "unprofiled" (refuses to be profiled).
        pace: seconds of the wall clock that each of its own takes, in iterations and in its start; 0: no time passes.
        elsewhere: arguments that differ where the engine names another interpreter than this process's, as a reference
            does.
        interpreters: part of an interpreter's path -> arguments that differ there; the first that is found counts,
            before `elsewhere`.
        enable_lora: as of vLLM.
        lora_modules: LoRA adapters that requests may name, see `records.adapters`; no figure depends on them.
    """

    step_seconds: float = 0.01
    prefill_seconds_per_token: float = 0.0001
    max_num_seqs: int = 256
    max_model_len: int = 4096
    kv_cache_tokens: int = 65536
    gpu_memory_utilization: float | None = None
    kv_cache_memory_bytes: int | None = None
    memory_bytes: int = 0
    others_bytes: int = 0
    noise: float = 0.0
    seed: int = 0
    load_seconds: float = 1.0
    starts: Sequence[float] = (1.0,)
    weight_bytes: int | None = None
    quantization: str | None = None
    bits: float = 16.0
    deviation: float = 0.0
    gpu_kernels: Mapping[str, Sequence[float]] = field(default_factory=dict)
    gpu_noise: float = 0.0
    gpu_starts: Sequence[float] = (1.0,)
    fail: str = ""
    pace: float = 0.0
    elsewhere: Mapping[str, Any] = field(default_factory=dict)
    interpreters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    enable_lora: bool = False
    lora_modules: Any = None


@dataclass
class _Running:
    request: Request
    prompt_tokens: int
    queued: float
    scheduled: float = 0.0
    first: float = 0.0
    last: float = 0.0
    made: int = 0
    gaps: list[float] = field(default_factory=list)


class SimulatedEngine:
    """An engine that generates, scores and renders by its script; it holds no memory and keeps no prefix cache.

    Args:
        spec: its arguments are a `Script`.
        start: how many engines of this spec were started before.

    Raises:
        EngineStartError: for an argument that `Script` has not, or where the script says so.
    """

    def __init__(self, spec: EngineSpec, start: int = 0) -> None:
        self.spec = spec
        self._start = start
        try:
            self._script = _script(spec)
        except TypeError as error:
            raise EngineStartError(f"the simulated engine refused {spec.name}: {error}") from None
        if bad := _not_valid(self._script):
            raise EngineStartError(f"the simulated engine refused {spec.name}: {bad} is not valid")
        if self._script.fail == "load":
            raise EngineStartError(f"the simulated engine refused {spec.name}: scripted failure", "scripted log")
        self._memory = _memory(self._script)
        if refusal := self._memory.refusal(self._script.max_model_len):
            raise EngineStartError(f"the simulated engine refused {spec.name}: {refusal}")
        self._clock = 0.0
        self._factor = _of_start(self._script.starts, start)
        seed = self._script.seed + start + (0 if _at_home(spec) else _OTHER_NOISE)
        self._noise = random.Random(seed)  # noqa: S311 - reproducible, not secret
        factor = _of_start(self._script.gpu_starts, start)
        self._gpu = SimulatedGpu(self._script.gpu_kernels, factor, self._script.gpu_noise, seed)
        self._profiling = False
        self._trace: Path | None = None
        self._uses: list[RankUse] = []
        self.facts = _facts(self._script)
        time.sleep(self._script.pace * self._script.load_seconds)

    def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
        """Schedule the requests in steps.

        Raises:
            EngineDiedError: where the script says so.
            WorkloadError: for a request longer than max_model_len.
        """
        if self._dies():
            raise EngineDiedError(
                f"{self.spec.name}: the engine process was ended by SIGKILL during run", "scripted log"
            )
        started, steps, prefills = self._clock, 0, 0
        waiting = deque(self._queue(request) for request in requests)
        running: list[_Running] = []
        done: list[_Running] = []
        limit = min(self._script.max_num_seqs, sampling.concurrency or len(waiting))
        while waiting or running:
            fresh = [waiting.popleft() for _ in range(min(limit - len(running), len(waiting)))]
            for one in fresh:
                one.queued = self._clock if sampling.concurrency else one.queued
                one.scheduled = self._clock
            running += fresh
            self._step(running, fresh)
            steps += 1
            prefills += bool(fresh)
            done += [one for one in running if one.made >= self._wanted(one)]
            running = [one for one in running if one.made < self._wanted(one)]
        gaps = tuple(round(gap * 1e9) for one in done for gap in one.gaps)
        busy = self._clock - started
        time.sleep(self._script.pace * busy)
        records = tuple(_record(one) for one in sorted(done, key=lambda one: one.request.index))
        if self._profiling:
            self._uses.append(self._gpu.iteration(busy, steps - prefills, prefills))
        return RunResult(records, gaps, steps, 0, 0, busy, None, busy)

    @property
    def pid(self) -> int | None:
        """There is no process."""
        return None

    def generate(self, requests: Sequence[Request]) -> Continuations:
        """Tokens that follow from the prompt's length and their place; a deviation changes some of them."""
        prompts = tuple(tuple(range(1, _prompt_tokens(request) + 1)) for request in requests)
        outputs = []
        for prompt, request in zip(prompts, requests, strict=True):
            made = [(len(prompt) + place) % _VOCABULARY for place in range(request.output_tokens)]
            spoilt = int(len(made) * min(1.0, self._script.deviation))
            outputs.append(tuple(made[: len(made) - spoilt] + [token + 1 for token in made[len(made) - spoilt :]]))
        return Continuations(prompts, tuple(outputs))

    def score(self, sequences: Sequence[Sequence[int]]) -> tuple[TokenScores, ...]:
        """A log-probability of -1 everywhere, less the deviation."""
        shift = self._script.deviation
        return tuple(
            TokenScores((-1.0 - shift,) * (len(tokens) - 1), tuple(token + round(shift) for token in tokens[1:]))
            for tokens in sequences
        )

    def render(self, chats: Sequence[Sequence[Message]], model: str | None = None) -> tuple[RenderedChat, ...]:
        """One token a word, its id the word's length; a deviation, or another model's name, adds a word in front."""
        front = ["extra"] if model is not None or self._script.deviation else []
        words = [front + " ".join(message["content"] for message in messages).split() for messages in chats]
        return tuple(RenderedChat(tuple(map(len, chat)), tuple(chat)) for chat in words)

    @property
    def unprofiled(self) -> str:
        """Why its GPU cannot be profiled; empty where it may be."""
        return "" if self._script.gpu_kernels else "the simulated engine has no GPU"

    def profile_start(self, trace: Path | None = None) -> None:
        """Note what its GPU does from now on.

        Raises:
            ProfileError: for a script without kernels, or where the script says so.
        """
        if self._script.fail == "unprofiled":
            raise ProfileError("scripted refusal")
        if self.unprofiled:
            raise ProfileError(self.unprofiled)
        self._profiling, self._trace, self._uses = True, trace, []

    def profile_stop(self) -> tuple[RankUse, ...]:
        """What its GPU did in the iteration since then; the trace is written where there is to be one.

        Raises:
            ProfileError: when there was no iteration.
        """
        self._profiling = False
        if not self._uses:
            raise ProfileError("nothing ran while the simulated engine was profiled")
        if self._trace is not None:
            write_trace(self._uses[-1], self._trace)
        return (self._uses[-1],)

    def close(self) -> None:
        """Nothing runs."""

    def kill(self) -> None:
        """Nothing runs."""

    def _dies(self) -> bool:
        """Whether the script ends the engine in this iteration."""
        now = {"run": True, "again": self._start > 0, "profile": self._profiling}
        return now.get(self._script.fail, False) or self._memory.exhausted

    def _queue(self, request: Request) -> _Running:
        tokens = _prompt_tokens(request)
        length = tokens + request.output_tokens
        if length > self._script.max_model_len:
            raise WorkloadError(
                f"{self.spec.name}: request {request.index} takes {length} tokens, more than "
                f"max_model_len={self._script.max_model_len}"
            )
        return _Running(request, tokens, queued=self._clock)

    def _wanted(self, one: _Running) -> int:
        return max(1, one.request.output_tokens - (self._script.fail == "short"))

    def _step(self, running: list[_Running], fresh: list[_Running]) -> None:
        seconds = self._script.step_seconds
        seconds += self._script.prefill_seconds_per_token * sum(one.prompt_tokens for one in fresh)
        self._clock += seconds * self._factor * max(0.1, self._noise.gauss(1.0, self._script.noise))
        for one in running:
            if one.made == 0:
                one.first = self._clock
            else:
                one.gaps.append(self._clock - one.last)
            one.last = self._clock
            one.made += 1


def start(asked: Start) -> SimulatedEngine:
    """Start a simulated engine."""
    return SimulatedEngine(asked.spec, asked.number)


def _at_home(spec: EngineSpec) -> bool:
    """Whether the engine names the interpreter of this process."""
    return spec.python == sys.executable


def _script(spec: EngineSpec) -> Script:
    script = Script(**spec.args)
    if (own := next((one for part, one in script.interpreters.items() if part in spec.python), None)) is not None:
        return replace(script, **own)
    return script if _at_home(spec) else replace(script, **script.elsewhere)


def _not_valid(script: Script) -> str:
    """The name of an argument that is not valid; empty if all are."""
    valid = {
        "max_num_seqs": script.max_num_seqs >= 1,
        "starts": bool(script.starts),
        "gpu_starts": bool(script.gpu_starts),
        "gpu_kernels": all(len(tuple(one)) == len(("times", "seconds")) for one in script.gpu_kernels.values()),
        "fail": script.fail in FAILURES,
        "pace": script.pace >= 0,
    }
    return ", ".join(name for name, fine in valid.items() if not fine)


def _memory(script: Script) -> SimulatedMemory:
    return SimulatedMemory(
        script.memory_bytes,
        script.others_bytes,
        script.weight_bytes or 0,
        script.gpu_memory_utilization,
        script.kv_cache_memory_bytes,
    )


def _of_start(factors: Sequence[float], start: int) -> float:
    """The factor of one start; the last one holds for all later ones."""
    return factors[min(start, len(factors) - 1)]


def _prompt_tokens(request: Request) -> int:
    if request.prompt_token_ids is not None:
        return len(request.prompt_token_ids)
    if request.prompt is not None:
        return len(request.prompt.split())
    return sum(len(message["content"].split()) for message in request.messages or ())


def _record(one: _Running) -> RequestRecord:
    return RequestRecord(
        index=one.request.index,
        prompt_tokens=one.prompt_tokens,
        output_tokens=one.made,
        cached_tokens=0,
        finish_reason="length",
        queued_ts=one.queued,
        scheduled_ts=one.scheduled,
        first_token_ts=one.first,
        last_token_ts=one.last,
    )


def _facts(script: Script) -> EngineFacts:
    told: dict[str, Any] = {"max_num_seqs": script.max_num_seqs}
    sized = _memory(script).kv_bytes
    tokens = script.kv_cache_tokens if sized is None else sized // KV_BYTES_PER_TOKEN
    return EngineFacts(
        device="simulated",
        device_name=None,
        max_model_len=script.max_model_len,
        vocab_size=_VOCABULARY,
        special_token_ids=(0,),
        prefix_caching=False,
        load_time={"total": script.load_seconds},
        kv_cache_tokens=tokens,
        kv_cache_bytes=tokens * KV_BYTES_PER_TOKEN,
        expected_kv_bytes_per_token=KV_BYTES_PER_TOKEN,
        weights=_weights(script),
        versions={"vllm": "simulated"},
        resolved=told,
    )


def _weights(script: Script) -> WeightFacts:
    held = round(_WEIGHTS * script.bits / 8)
    layers = WeightLayers("Simulated", script.bits != 16, 1, _WEIGHTS, held)
    return WeightFacts({}, script.quantization, script.quantization, False, script.weight_bytes, (layers,), None)
