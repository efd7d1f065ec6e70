"""Drive workloads through engines: warm-up, then measured iterations. Never sees a baseline."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from pytest_vllmperf.engines.base import CachesMedia, CachesPrefixes, Engine, Serves, able
from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.lab import host
from pytest_vllmperf.lab.fresh import permuted
from pytest_vllmperf.lab.pace import Pace
from pytest_vllmperf.records.adapters import ARGUMENT as ADAPTERS
from pytest_vllmperf.records.adapters import adapters, base_names
from pytest_vllmperf.records.engine import Sampling
from pytest_vllmperf.records.run import EngineRun, MeasureSettings, RunResult
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Request, Workload

OnIteration = Callable[[str], None]
"""Called before each iteration with which one it is and what is left, in words."""


def measure(engine: Engine, workload: Workload, settings: MeasureSettings, on_iteration: OnIteration) -> EngineRun:
    """Measure one workload on one engine.

    Raises:
        WorkloadError: when it does not fit the engine; nothing has been sent then.
        EngineError: when the engine fails on the way.
    """
    driver = Driver(engine, workload, settings.client_processes)
    done: list[RunResult] = []
    pace = Pace()
    while (warm := settings.discarded(done)) is None or len(done) < warm + settings.iterations:
        on_iteration(pace.before(len(done), warm, settings.iterations))
        done.append(driver.iterate())
    return _run(engine, driver, done, warm)


def measure_in_turns(
    engines: tuple[Engine, Engine],
    workload: Workload,
    settings: MeasureSettings,
    on_iteration: OnIteration,
    before_turn: Callable[[int], None] = lambda _: None,
    using: Callable[[int], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> tuple[EngineRun, EngineRun]:
    """Measure two engines in turns, in the order A B B A A B B A …, so that drift falls on both alike.

    An odd number of measured iterations is raised by one: each turn has its mirror.

    Args:
        engines: the two.
        workload: what is sent to both.
        settings: how often.
        on_iteration: told before each pair of turns.
        before_turn: told whose turn it is, 0 or 1, before each.
        using: entered around all that concerns one of them alone.

    Raises:
        WorkloadError: when it does not fit an engine.
        EngineError: when an engine fails on the way.
    """
    drivers = []
    for side, engine in enumerate(engines):
        with using(side):
            drivers.append(Driver(engine, workload, settings.client_processes))
    done: tuple[list[RunResult], list[RunResult]] = ([], [])
    wanted = settings.iterations + settings.iterations % 2
    pace = Pace()
    while (warm := _later(settings, done)) is None or len(done[0]) < warm + wanted:
        on_iteration(pace.before(len(done[0]), warm, wanted))
        for side in (0, 1) if len(done[0]) % 2 == 0 else (1, 0):
            before_turn(side)
            with using(side):
                done[side].append(drivers[side].iterate())
    a, b = (_run(engine, driver, results, warm) for engine, driver, results in zip(engines, drivers, done, strict=True))
    return a, b


def _later(settings: MeasureSettings, done: tuple[list[RunResult], list[RunResult]]) -> int | None:
    """The warm-up of two engines ends when that of the later one does."""
    first, second = (settings.discarded(results) for results in done)
    return None if first is None or second is None else max(first, second)


def _run(engine: Engine, driver: Driver, done: Sequence[RunResult], warm: int) -> EngineRun:
    return EngineRun(engine.facts, driver.requests, tuple(done[:warm]), tuple(done[warm:]))


class Driver:
    """One workload, made into requests once, for one engine."""

    def __init__(self, engine: Engine, workload: Workload, client_processes: int | None = None) -> None:
        self._engine = engine
        check_can_be_sent(workload, engine.spec, serves=isinstance(engine, Serves), vllm_requests=True)
        self._media = bool(workload.media)
        self.requests = workload.requests(engine.facts.vocab_size, engine.facts.special_token_ids)
        _check_fit(self.requests, engine.facts.max_model_len, engine.spec.name)
        self._sampling = Sampling(
            workload.concurrency,
            workload.ignore_eos,
            workload.temperature,
            workload.seed,
            workload.arrivals,
            workload.stream,
            workload.keep_alive,
            workload.send_for,
            client_processes,
        )

    def iterate(self) -> RunResult:
        """One iteration, with nothing left in the caches of prefixes and images from the one before."""
        if self._engine.facts.prefix_caching:
            able(self._engine, CachesPrefixes).reset_prefix_cache()
        if self._media and isinstance(self._engine, CachesMedia):
            self._engine.reset_media_caches()
        requests = self._to_send()
        with host.watched(host.PROC) as seen:
            result = self._engine.run(requests, self._sampling)
        return replace(result, host=seen.use)

    def _to_send(self) -> Sequence[Request]:
        """The requests, in tokens that the server has not seen where its prefix cache cannot be reset."""
        engine = self._engine
        if isinstance(engine, CachesPrefixes) or not isinstance(engine, Serves):
            return self.requests
        facts = engine.facts
        return permuted(self.requests, secrets.randbits(64), facts.vocab_size, facts.special_token_ids)


def check_can_be_sent(workload: Workload, spec: EngineSpec, *, serves: bool, vllm_requests: bool) -> None:
    """See that an engine is not asked for what it cannot do, or for an adapter that it has not.

    Args:
        workload: what is to be sent.
        spec: of the engine.
        serves: whether it is driven over HTTP.
        vllm_requests: whether its requests may name adapters and hold images, as far as the caller knows.

    Raises:
        WorkloadError: with the reason, and what to do.
    """
    if workload.needs_server and not serves:
        raise WorkloadError(
            f"{spec.name}: this workload needs a server, because {workload.why_server}; mark the test with "
            f"backend='serve', or "
            "pass endpoint=vllmperf.endpoint(...)"
        )
    if not (serves or vllm_requests) and (workload.named_models or workload.media):
        what = f"asks for the model {workload.named_models[0]!r}" if workload.named_models else "has images or sound"
        raise WorkloadError(
            f"{spec.name}: the workload {what}, which backend={spec.backend!r} cannot be sent; take 'offline' or "
            f"'serve'"
        )
    _check_models(workload, spec, serves=serves)


def _check_models(workload: Workload, spec: EngineSpec, *, serves: bool) -> None:
    """See that the models that requests ask for are there; what an endpoint serves is known to itself alone."""
    known = adapters(spec.args)
    if serves and ADAPTERS not in spec.args:
        return
    unknown = [name for name in workload.named_models if name not in (*known, *base_names(spec.model, spec.args))]
    if not unknown:
        return
    has = f"it has {', '.join(known)}" if known else "it has none"
    raise WorkloadError(
        f"{spec.name}: the workload asks for the model {unknown[0]!r}, but the engine has no adapter of that name; "
        f"{has}. Adapters are named in the engine's lora_modules={{'NAME': 'PATH'}}, with enable_lora=True"
    )


def _check_fit(requests: Sequence[Request], max_model_len: int, name: str) -> None:
    """Lengths that are known here; of text and chats the engine knows them, and says so itself."""
    for request in requests:
        prompt = len(request.prompt_token_ids or ())
        if prompt + request.output_tokens > max_model_len:
            raise WorkloadError(
                f"the workload does not fit {name}: request {request.index} takes {prompt} prompt + "
                f"{request.output_tokens} output tokens, more than max_model_len={max_model_len}"
            )
