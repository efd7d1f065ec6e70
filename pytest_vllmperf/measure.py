"""Drive workloads through engines: warm-up, then counted iterations. Never sees a baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_vllmperf.engines.base import Engine, Sampling
from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.metrics.records import EngineFacts, RunResult
from pytest_vllmperf.workload import Request, Workload


@dataclass(frozen=True)
class MeasureSettings:
    """How often.

    Attributes:
        warmup: iterations discarded first; the first run of an engine is slow.
        iterations: iterations counted.
    """

    warmup: int = 2
    iterations: int = 10


@dataclass(frozen=True)
class EngineRun:
    """What one engine did for one workload.

    Attributes:
        facts: what the engine is.
        requests: what each iteration sent.
        warmup: the discarded iterations.
        iterations: the counted ones.
    """

    facts: EngineFacts
    requests: tuple[Request, ...]
    warmup: tuple[RunResult, ...]
    iterations: tuple[RunResult, ...]


OnIteration = Callable[[str], None]
"""Told before each iteration which one it is, in words."""


def measure(engine: Engine, workload: Workload, settings: MeasureSettings, on_iteration: OnIteration) -> EngineRun:
    """Measure one workload on one engine.

    Raises:
        WorkloadError: when it does not fit the engine; nothing has been sent then.
        EngineError: when the engine fails on the way.
    """
    driver = _Driver(engine, workload)
    warmup = []
    for number in range(settings.warmup):
        on_iteration(f"warm-up {number + 1}/{settings.warmup}")
        warmup.append(driver.iterate())
    counted = []
    for number in range(settings.iterations):
        on_iteration(f"iteration {number + 1}/{settings.iterations}")
        counted.append(driver.iterate())
    return EngineRun(engine.facts, driver.requests, tuple(warmup), tuple(counted))


def measure_in_turns(
    engines: tuple[Engine, Engine], workload: Workload, settings: MeasureSettings, on_iteration: OnIteration
) -> tuple[EngineRun, EngineRun]:
    """Measure two engines round by round, in the order A B, B A, A B …, so that drift falls on both alike.

    Raises:
        WorkloadError: when it does not fit an engine.
        EngineError: when an engine fails on the way.
    """
    drivers = [_Driver(engine, workload) for engine in engines]
    results: tuple[list[RunResult], list[RunResult]] = ([], [])
    rounds = settings.warmup + settings.iterations
    for number in range(rounds):
        on_iteration(f"round {number + 1}/{rounds}")
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            results[side].append(drivers[side].iterate())
    warm = settings.warmup
    a, b = (
        EngineRun(engine.facts, driver.requests, tuple(done[:warm]), tuple(done[warm:]))
        for engine, driver, done in zip(engines, drivers, results, strict=True)
    )
    return a, b


class _Driver:
    """One workload, made into requests once, for one engine."""

    def __init__(self, engine: Engine, workload: Workload) -> None:
        self._engine = engine
        self.requests = workload.requests(engine.facts.vocab_size, engine.facts.special_token_ids)
        _check_fit(self.requests, engine.facts.max_model_len, engine.spec.name)
        self._sampling = Sampling(workload.concurrency, workload.ignore_eos, workload.temperature, workload.seed)

    def iterate(self) -> RunResult:
        """One iteration, with nothing left in the prefix cache from the one before."""
        if self._engine.facts.prefix_caching:
            self._engine.reset_prefix_cache()
        return self._engine.run(self.requests, self._sampling)


def _check_fit(requests: Sequence[Request], max_model_len: int, name: str) -> None:
    """Lengths that are known here; of text and chats the engine knows them, and says so itself."""
    for request in requests:
        prompt = len(request.prompt_token_ids or ())
        if prompt + request.output_tokens > max_model_len:
            raise WorkloadError(
                f"the workload does not fit {name}: request {request.index} takes {prompt} prompt + "
                f"{request.output_tokens} output tokens, more than max_model_len={max_model_len}"
            )
