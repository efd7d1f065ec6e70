"""The offline engine on real vLLM: what it tells of itself, and its own numbers for known work."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.errors import (
    EngineDiedError,
    EngineStartError,
    EngineTimeoutError,
    ModelError,
    SpecError,
    WorkloadError,
)
from pytest_vllmperf.lab.driving import measure, measure_in_turns
from pytest_vllmperf.metrics.reduce import engine_samples
from pytest_vllmperf.records.engine import Sampling, Timeouts
from pytest_vllmperf.records.run import EngineRun, MeasureSettings
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.validity.rules import Expected, problems
from pytest_vllmperf.workload import Workload
from tests.temporary import left

from .conftest import MODEL, TINY, quiet

LAYERS, KV_HEADS, HEAD_DIM, FLOAT32 = 4, 4, 32, 4
SETTINGS = MeasureSettings(warmup=1, iterations=3)


def run(engine: Engine, workload: Workload, settings: MeasureSettings = SETTINGS) -> tuple[EngineRun, EngineSamples]:
    done = measure(engine, workload, settings, lambda _: None)
    return done, engine_samples(done.facts, done.warmup, done.iterations)


def pid_of(engine: Engine) -> int:
    return int(engine.pid)  # type: ignore[attr-defined]


def test_facts_are_what_was_asked_for(engine: Engine) -> None:
    facts = engine.facts
    assert facts.device == "cpu"
    assert facts.max_model_len == TINY["max_model_len"]
    assert facts.vocab_size == 2048
    assert {0, 1} <= set(facts.special_token_ids)
    assert facts.kv_cache_bytes == TINY["kv_cache_memory_bytes"]
    assert facts.resolved["dtype"] == "float32"
    assert facts.resolved["max_num_seqs"] == TINY["max_num_seqs"]
    assert facts.resolved["quantization"] is None
    assert facts.versions["vllm"].startswith("0.")
    assert "cpu" in facts.versions["torch"]


def test_load_time_has_parts(engine: Engine) -> None:
    load = engine.facts.load_time
    assert 0 <= load["weights"] < load["total"]
    assert load["rest"] == pytest.approx(load["total"] - load["weights"])
    assert load["import"] > 0


def test_synthetic_work_is_counted_exactly(engine: Engine) -> None:
    done, samples = run(engine, Workload.synthetic(requests=16, input_tokens=32, output_tokens=12))
    assert problems(done, Expected(exact_length=True, fresh_prompts=True)) == ()
    assert samples.samples["prompt_tokens"] == [16 * 32] * 3
    assert samples.samples["output_tokens"] == [16 * 12] * 3
    # 16 requests through 8 places: two rounds of 12 steps, whichever machine this is
    assert samples.samples["engine_steps"] == [24] * 3
    assert samples.samples["preemptions"] == [0] * 3
    assert samples.samples["prefix_cache_hit_tokens"] == [0] * 3
    assert samples.samples["kernels_compiled"] == [0] * 3


def test_kv_bytes_per_token_follow_from_the_model(engine: Engine) -> None:
    _, samples = run(engine, Workload.synthetic(requests=1, input_tokens=8, output_tokens=2))
    assert samples.once["kv_bytes_per_token"] == 2 * LAYERS * KV_HEADS * HEAD_DIM * FLOAT32
    assert engine.facts.expected_kv_bytes_per_token == samples.once["kv_bytes_per_token"]
    assert engine.facts.kv_blocks == engine.facts.kv_cache_tokens // 128  # the CPU build's block size
    assert engine.facts.max_concurrency is not None
    assert engine.facts.max_concurrency > 1


def test_timestamps_are_in_order_and_distributions_belong_together(engine: Engine) -> None:
    done, samples = run(engine, Workload.synthetic(requests=16, input_tokens=32, output_tokens=12))
    for result in done.iterations:
        for request in result.requests:
            times = (request.queued_ts, request.scheduled_ts, request.first_token_ts, request.last_token_ts)
            assert times == tuple(sorted(times))
            assert request.first_token_ts > request.scheduled_ts
        assert len(result.itl_ns) == 16 * 11
        assert 0 < result.cpu_seconds < 60  # type: ignore[operator]
        assert result.resident_bytes > 100 * 2**20  # type: ignore[operator]
    for number in range(3):
        ttft, e2e = samples.samples["ttft.mean"][number], samples.samples["e2e.mean"][number]
        assert e2e == pytest.approx(ttft + samples.samples["decode.mean"][number], rel=1e-3)
        assert ttft == pytest.approx(
            samples.samples["queue.mean"][number] + samples.samples["prefill.mean"][number], rel=1e-3
        )
        assert samples.samples["tpot.mean"][number] == pytest.approx(samples.samples["itl.mean"][number], rel=0.02)
    assert len(samples.ttft_by_request) == 16


def test_requests_that_wait_have_the_longer_ttft(engine: Engine) -> None:
    _, samples = run(engine, Workload.synthetic(requests=16, input_tokens=32, output_tokens=12))
    first, second = samples.ttft_by_request[:8], samples.ttft_by_request[8:]
    assert max(first) < min(second)


def test_concurrency_bounds_what_is_in_flight(engine: Engine) -> None:
    one, _ = run(engine, Workload.synthetic(requests=4, input_tokens=32, output_tokens=6, concurrency=1))
    for result in one.iterations:
        assert result.engine_steps == 4 * 6
        requests = sorted(result.requests, key=lambda request: request.queued_ts)
        for earlier, later in pairwise(requests):
            assert later.queued_ts >= earlier.last_token_ts


def test_prompts_and_chats_go_through_the_tokenizer(engine: Engine) -> None:
    prompts, _ = run(engine, Workload.prompts(["one", "one two three four five six seven"], output_tokens=4))
    short, long = prompts.iterations[0].requests
    assert 0 < short.prompt_tokens < long.prompt_tokens
    question = [{"role": "user", "content": "one"}]
    chats, _ = run(engine, Workload.chat([question], output_tokens=4))
    # the template puts tokens for roles and turns around the same text
    assert chats.iterations[0].requests[0].prompt_tokens > short.prompt_tokens


def test_shared_prefix_hits_the_prefix_cache_and_iterations_do_not(start: Callable[..., Engine]) -> None:
    engine = start(max_num_seqs=1)
    try:
        shared = Workload.synthetic(requests=4, input_tokens=300, output_tokens=2, shared_prefix_tokens=256)
        _, samples = run(engine, shared)
        # blocks of 128 tokens: two of them are shared by the three requests after the first
        assert samples.samples["prefix_cache_hit_tokens"] == [3 * 256] * 3
    finally:
        engine.close()


def test_two_engines_of_one_interpreter_share_the_import(start: Callable[..., Engine], engine: Engine) -> None:
    other = start(max_num_seqs=4)
    try:
        assert other.facts.load_time["import"] == engine.facts.load_time["import"]
        assert psutil.Process(pid_of(other)).ppid() == psutil.Process(pid_of(engine)).ppid()
    finally:
        other.close()
    assert not psutil.pid_exists(pid_of(other))


def test_engines_in_turns_share_the_drift(start: Callable[..., Engine], engine: Engine) -> None:
    one_by_one = start(max_num_seqs=1)
    try:
        work = Workload.synthetic(requests=8, input_tokens=32, output_tokens=8)
        order: list[str] = []
        a, b = measure_in_turns((engine, one_by_one), work, MeasureSettings(warmup=0, iterations=2), order.append)
        assert order == ["iteration 1/2", "iteration 2/2"]
        assert [result.engine_steps for result in a.iterations] == [8, 8]
        assert [result.engine_steps for result in b.iterations] == [64, 64]
        first, second = (run.iterations for run in (a, b))
        # A B, then B A: b's second round comes right after its first
        assert first[0].requests[0].queued_ts < second[0].requests[0].queued_ts
        assert second[1].requests[0].queued_ts < first[1].requests[0].queued_ts
    finally:
        one_by_one.close()


def test_a_workload_that_does_not_fit_is_refused_and_the_engine_goes_on(engine: Engine) -> None:
    with pytest.raises(WorkloadError, match=r"600 prompt \+ 10 output tokens, more than max_model_len=512"):
        run(engine, Workload.synthetic(requests=1, input_tokens=600, output_tokens=10))
    # of a text only the engine knows how long it is
    with pytest.raises(WorkloadError, match=r"request 1 takes \d+ prompt .* more than max_model_len=512"):
        run(engine, Workload.prompts(["short", "word " * 800], output_tokens=10))
    done, _ = run(engine, Workload.synthetic(requests=1, input_tokens=8, output_tokens=2))
    assert problems(done, Expected(exact_length=True)) == ()


def test_a_typo_in_an_argument_is_refused_with_the_nearest_name(start: Callable[..., Engine]) -> None:
    with pytest.raises(SpecError) as told:
        start(max_num_sequences=3)
    assert str(told.value) == (
        "vllmperf:tiny: vLLM has no engine argument 'max_num_sequences' (did you mean max_num_seqs?)"
    )


def test_impossible_engine_argument_is_told_in_vllms_words(start: Callable[..., Engine]) -> None:
    with pytest.raises(EngineStartError, match=r"max_model_len") as told:
        start(max_model_len=10_000_000)
    assert "\n" not in str(told.value)


def test_missing_model_path_is_told_before_an_engine_starts(start: Callable[..., Engine], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model path .*/nowhere does not exist"):
        start(model=str(tmp_path / "nowhere"))


def test_a_folder_without_a_model_is_told_in_vllms_words(start: Callable[..., Engine], tmp_path: Path) -> None:
    with pytest.raises(EngineStartError) as told:
        start(model=str(tmp_path))
    assert "refused" in str(told.value)
    assert "\n" not in str(told.value)


def test_timestamps_cannot_be_switched_off(start: Callable[..., Engine]) -> None:
    with pytest.raises(SpecError, match="disable_log_stats"):
        start(disable_log_stats=True)


def test_a_killed_engine_is_told_with_its_signal_and_log(start: Callable[..., Engine]) -> None:
    engine = start(max_num_seqs=4)
    psutil.Process(pid_of(engine)).kill()
    with pytest.raises(EngineDiedError, match=r"ended by SIGKILL during run; the kernel") as told:
        engine.run(Workload.synthetic(requests=1, input_tokens=8, output_tokens=2).requests(100), sampling=Sampling())
    assert told.value.log_tail
    engine.close()


@pytest.mark.long
def test_an_engine_core_with_a_long_tmpdir_works_and_its_death_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("d" * 80)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    launcher = Launcher(Timeouts(start=600, operation=300))
    try:
        # As on CUDA: the core is a process of its own, and its sockets have names. vLLM's CPU build takes "01" for true
        # as well, but starts no worker for it, which would import vLLM a third time.
        env = {"VLLM_ENABLE_V1_MULTIPROCESSING": "01"}
        engine = launcher.start(EngineSpec.create(MODEL, env=env, **TINY), {}, quiet)
        done, _ = run(engine, Workload.synthetic(requests=2, input_tokens=8, output_tokens=2))
        assert problems(done, Expected(exact_length=True)) == ()
        below = psutil.Process(pid_of(engine)).children(recursive=True)
        (core,) = [child for child in below if "EngineCore" in child.cmdline()[0]]
        threading.Timer(0.5, core.kill).start()
        # the operation's time-out, of minutes, would be another error
        with pytest.raises(EngineDiedError, match=r"vLLM's process EngineCore\w* died during run") as told:
            engine.run(Workload.synthetic(requests=64, input_tokens=64, output_tokens=400).requests(100), Sampling())
        assert "\n" not in str(told.value)
        assert "full log: " in told.value.log_tail
        assert not psutil.pid_exists(pid_of(engine))
    finally:
        launcher.close()
    (kept,) = left(long)
    assert {entry.suffix for entry in kept.iterdir()} == {".log", ".lock", ""}
    assert not [entry for entry in kept.iterdir() if entry.is_dir()]


def test_an_operation_that_takes_too_long_ends_the_engine(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = launcher.start(EngineSpec.create(MODEL, **{**TINY, "max_num_seqs": 1}), {}, quiet)
    pid = pid_of(engine)
    monkeypatch.setattr(engine, "_timeouts", type(engine._timeouts)(start=1, operation=0.2))  # type: ignore[attr-defined]
    work = Workload.synthetic(requests=64, input_tokens=256, output_tokens=200)
    with pytest.raises(EngineTimeoutError, match=r"run took longer than 0.2 s"):
        engine.run(work.requests(100), Sampling())
    assert not psutil.pid_exists(pid)


def test_nothing_is_left_in_the_temporary_folder(start: Callable[..., Engine]) -> None:
    folder = Path(tempfile.gettempdir())
    before = set(folder.glob("vllm_dist_*"))
    start(max_num_seqs=2).close()
    # vLLM leaves a file for each engine behind; it lies in the launcher's folder, which goes with the launcher
    assert set(folder.glob("vllm_dist_*")) == before
