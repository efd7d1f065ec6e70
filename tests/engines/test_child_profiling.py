"""Children that are profiled: the worker's hook, the offline and the served engine, the reference. torch is faked."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pytest_vllmperf.engines import forkserver
from tests.engines.fake_gpu import FakeTorch

FOLDER = Path(forkserver.__file__).parent / "child"
SCRIPTS = (
    "vllmperf_cpu_build", "vllmperf_compilation", "vllmperf_device_pass", "vllmperf_offline", "vllmperf_process",
    "vllmperf_prompts", "vllmperf_reference", "vllmperf_serve", "vllmperf_weights", "vllmperf_worker",
)  # fmt: skip


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> FakeTorch:
    fake = FakeTorch()
    monkeypatch.setitem(sys.modules, "torch", fake)
    return fake


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch, torch: FakeTorch) -> Iterator[dict[str, ModuleType]]:
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    monkeypatch.setattr(importlib.import_module("vllmperf_cpu_build"), "cpu_build_version", lambda: None)
    yield {name: importlib.import_module(name) for name in SCRIPTS}
    for name in SCRIPTS:
        sys.modules.pop(name, None)


def scheduled(*tokens: int) -> SimpleNamespace:
    return SimpleNamespace(num_scheduled_tokens={str(place): number for place, number in enumerate(tokens)})


class Base:
    """vLLM's worker: a step launches one kernel."""

    def __init__(self, torch: FakeTorch, rank: int = 0) -> None:
        self.torch, self.rank = torch, rank

    def execute_model(self, _: Any) -> str:
        self.torch.launch("kernel", 10)
        return "output"


@pytest.fixture
def worker(scripts: dict[str, ModuleType], torch: FakeTorch) -> Any:
    return worker_of(scripts, torch)


def worker_of(scripts: dict[str, Any], torch: FakeTorch, rank: int = 0) -> Any:
    return type("Worker", (Base, scripts["vllmperf_worker"].Probe), {})(torch, rank)


def test_a_worker_counts_its_steps_while_it_records_and_not_afterwards(worker: Any, torch: FakeTorch) -> None:
    assert worker.vllmperf_profile_start() == ""
    assert [worker.execute_model(one) for one in (scheduled(3, 4), scheduled(1, 1))] == ["output"] * 2
    told = worker.vllmperf_profile_stop()
    assert told["steps"] == {"decode": [1, 10], "prefill": [1, 10]}
    assert "execute_model" not in vars(worker)
    assert torch.opened == []
    before = torch.now
    worker.execute_model(scheduled(1))
    assert torch.now == before + 10  # no marker


def test_a_worker_on_a_processor_says_so(worker: Any, torch: FakeTorch) -> None:
    torch.used = False
    assert worker.vllmperf_profile_start() == "the engine runs on a CPU"
    assert vars(worker).keys() == {"torch", "rank"}


def test_a_failing_start_leaves_no_hook_and_no_profiler(worker: Any, torch: FakeTorch) -> None:
    torch.failing = {"start": "in use"}
    assert worker.vllmperf_profile_start() == "torch's profiler did not start: in use"
    assert "execute_model" not in vars(worker)
    assert torch.opened == []
    assert worker.vllmperf_profile_stop()["problem"] == "no recording is in progress"


def test_a_worker_that_never_started_has_nothing_to_stop(worker: Any) -> None:
    assert worker.vllmperf_profile_stop()["problem"] == "no recording is in progress"


def test_what_was_not_recorded_is_told_and_the_hook_is_gone(worker: Any, torch: FakeTorch) -> None:
    torch.lost = {"kernel"}
    worker.vllmperf_profile_start()
    worker.execute_model(scheduled(1))
    assert "MIG" in worker.vllmperf_profile_stop()["problem"]
    assert "execute_model" not in vars(worker)


def test_a_worker_records_one_iteration_after_the_other(worker: Any) -> None:
    found = []
    for steps in (2, 30, 1):
        worker.vllmperf_profile_start()
        for _ in range(steps):
            worker.execute_model(scheduled(1))
        found.append(worker.vllmperf_profile_stop()["activities"])
    assert found == [2, 30, 1]


@pytest.mark.parametrize("stage", [0, 1, None])
def test_a_worker_tells_its_pipeline_stage(worker: Any, monkeypatch: pytest.MonkeyPatch, stage: int | None) -> None:
    def get_pp_group() -> SimpleNamespace:
        assert stage is not None, "pipeline model parallel group is not initialized"
        return SimpleNamespace(rank_in_group=stage)

    monkeypatch.setitem(sys.modules, "vllm.distributed.parallel_state", SimpleNamespace(get_pp_group=get_pp_group))
    worker.vllmperf_profile_start()
    assert worker.vllmperf_profile_stop()["stage"] == (stage or 0)
    monkeypatch.delitem(sys.modules, "vllm.distributed.parallel_state")
    assert worker.vllmperf_profile_stop()["stage"] == 0


def test_the_first_rank_alone_keeps_a_trace(scripts: dict[str, Any], torch: FakeTorch) -> None:
    for rank in (0, 1):
        one = worker_of(scripts, torch, rank)
        one.vllmperf_profile_start(f"{rank}.json.gz")
        one.vllmperf_profile_stop()
    assert torch.traces == ["0.json.gz"]


class Llm:
    """vLLM's LLM, with two workers."""

    def __init__(self, *workers: Any) -> None:
        self.workers = workers

    def collective_rpc(self, method: str, timeout: float | None = None, args: Sequence[Any] = ()) -> list[Any]:
        return [getattr(one, method)(*args) for one in self.workers]


@pytest.fixture
def offline(scripts: dict[str, Any], torch: FakeTorch) -> Any:
    engine = scripts["vllmperf_offline"].OfflineEngine()
    engine.llm, engine.probed = (
        Llm(*(worker_of(scripts, torch, rank) for rank in (0, 1))),
        True,
    )
    return engine


def test_ranks_are_kept_apart(offline: Any, scripts: dict[str, Any], torch: FakeTorch) -> None:
    assert offline.profile_start() == ""
    for _ in range(2):
        offline.llm.workers[0].execute_model(scheduled(1))
    told = offline.profile_stop()
    assert [one["activities"] for one in told] == [2, 2]  # both see one GPU here
    assert torch.opened == []


def test_a_rank_that_cannot_start_ends_the_others(
    offline: Any, torch: FakeTorch, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = offline.llm.workers[1]
    monkeypatch.setattr(type(second), "vllmperf_profile_start", lambda *_: "in use", raising=True)
    assert offline.profile_start() == "in use"
    assert torch.opened == []
    assert all("execute_model" not in vars(one) for one in offline.llm.workers)


def test_an_extension_of_the_users_own_is_the_reason(offline: Any) -> None:
    offline.probed = False
    assert offline.profile_start() == "the engine sets its own worker_extension_cls"


def test_a_server_asks_its_workers_through_its_client(scripts: dict[str, Any], torch: FakeTorch) -> None:
    llm = Llm(worker_of(scripts, torch))

    class Client:
        async def collective_rpc(self, method: str, timeout: float | None = None, args: Sequence[Any] = ()) -> Any:
            return llm.collective_rpc(method, timeout, args)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        engine = scripts["vllmperf_serve"].ServedEngine(iter(()), None)
        engine.llm, engine.probed = scripts["vllmperf_serve"].ServedLlm(Client(), loop), True
        assert engine.profile_start(trace="t.json.gz") == ""
        llm.workers[0].execute_model(scheduled(1))
        assert engine.profile_stop()[0]["activities"] == 1
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    assert torch.traces == ["t.json.gz"]


class Model:
    """A model of transformers: a forward pass launches two kernels."""

    def __init__(self, torch: FakeTorch) -> None:
        self.torch = torch
        self.hooks: list[Any] = []

    def register_forward_pre_hook(self, hook: Any, *, with_kwargs: bool) -> Any:
        assert with_kwargs
        self.hooks.append(hook)
        return SimpleNamespace(remove=lambda: self.hooks.remove(hook))

    def __call__(self, *positional: Any, **named: Any) -> None:
        for hook in self.hooks:
            assert hook(self, positional, named) is None  # what a hook returns would take the arguments' place
        for _ in range(2):
            self.torch.launch("gemm", 10)


@pytest.fixture
def reference(scripts: dict[str, Any], torch: FakeTorch) -> Any:
    engine = scripts["vllmperf_reference"].ReferenceEngine()
    engine.model, engine.told = Model(torch), {"device": "cuda"}
    return engine


def ids(rows: int, width: int) -> Any:
    return SimpleNamespace(shape=(rows, width))


def test_forward_passes_of_the_reference_are_its_steps(reference: Any, torch: FakeTorch) -> None:
    assert reference.profile_start("t.json.gz") == ""
    reference.model(input_ids=ids(4, 7))
    for _ in range(20):
        reference.model(ids(4, 1))
    (told,) = reference.profile_stop()
    assert told["activities"] == 42
    assert told["steps"] == {"decode": [20, 400], "prefill": [1, 20]}
    assert (reference.model.hooks, torch.opened, torch.traces) == ([], [], ["t.json.gz"])


def test_a_pass_of_embeddings_alone_is_a_step_too(reference: Any) -> None:
    reference.profile_start()
    reference.model(inputs_embeds="embeddings")
    assert reference.profile_stop()[0]["activities"] == 2


def test_a_reference_that_cannot_be_profiled_says_why(reference: Any, torch: FakeTorch) -> None:
    torch.failing = {"start": "in use"}
    assert reference.profile_start() == "torch's profiler did not start: in use"
    assert reference.model.hooks == []
    reference.told["device"] = "cpu"
    assert reference.profile_start() == "the engine runs on a CPU"
    assert reference.profile_stop() == [{"problem": "no recording is in progress"}]
