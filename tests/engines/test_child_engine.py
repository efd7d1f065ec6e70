"""An engine's own side: what it makes of answers, refusals and silence. The child is scripted."""

import os
import signal
from pathlib import Path

import pytest

from pytest_vllmperf.engines.base import run_result
from pytest_vllmperf.errors import (
    EngineDiedError,
    EngineError,
    EngineStartError,
    EngineTimeoutError,
    EngineUnsupportedError,
    WorkloadError,
)
from pytest_vllmperf.records.engine import Continuations, RenderedChat, Sampling, Timeouts, TokenScores, WeightLayers
from pytest_vllmperf.records.run import RequestRecord
from pytest_vllmperf.workload import Request
from tests.engines.conftest import LONG, wait_until_gone
from tests.engines.scripted_engines import REQUESTS, Starter, modules, server, start

__all__ = ["modules", "server", "start"]


def test_what_came_up_is_told(start: Starter) -> None:
    facts = start(model="/tmp", max_model_len=64).facts
    assert facts.resolved == {"model": "/tmp"}
    assert (facts.device, facts.max_model_len, facts.special_token_ids) == ("cpu", 64, (0, 1))
    assert facts.load_time == {"import": 2.5, "total": 10.0, "weights": 4.0, "rest": 6.0}


def test_the_phase_of_a_load_is_told_however_short_it_is(start: Starter) -> None:
    start()  # answers at once, before the first tick
    assert start.told[0] == "starting"


def test_a_run_sends_the_requests_and_takes_the_records(start: Starter) -> None:
    result = start().run(REQUESTS, Sampling(concurrency=2, seed=7))
    assert [record.index for record in result.requests] == [0, 1]
    assert result.requests[0] == RequestRecord(0, 2, 3, 0, "length", 1.0, 1.5, 2.0, 4.0)
    assert (result.itl_ns, result.engine_steps, result.preemptions, result.prefix_cache_hit_tokens) == ((5,), 3, 1, 2)
    assert (result.cpu_seconds, result.resident_bytes, result.busy_seconds) == (0.5, 9, 2)


def test_a_request_without_an_answer_did_not_finish(start: Starter) -> None:
    result = start().run(REQUESTS, Sampling(seed=99))
    assert [record.finish_reason for record in result.requests] == ["length", None]
    assert result.requests[1].index == 1


def test_answers_that_do_not_belong_to_the_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        run_result({"requests": [None], "itl_ns": []}, REQUESTS)


def test_the_prefix_cache_is_reset_or_the_refusal_told(start: Starter) -> None:
    start().reset_prefix_cache()
    with pytest.raises(EngineError, match="model: the prefix cache could not be reset"):
        start(reset=False).reset_prefix_cache()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("max_model_len is too large", "max_model_len is too large"),
        ("first line\nsecond line\nthird line", "first line second line"),
        (
            "1 validation error for ModelConfig\n  Value error, Cannot find the config file for awq [type=value_error, "
            "input_value=x]\n    For further information visit https://errors.pydantic.dev",
            "Cannot find the config file for awq",
        ),
        ("1 validation error\n  Assertion failed, no such dtype [type=assertion_error]", "no such dtype"),
        ("", "RuntimeError"),
    ],
)
def test_a_refusal_is_told_in_vllms_words_and_one_line(start: Starter, words: str, told: str) -> None:
    with pytest.raises(EngineStartError) as caught:
        start(act_load="RuntimeError", words=words)
    assert str(caught.value) == f"vLLM refused model: {told}"
    assert "load RuntimeError" in caught.value.log_tail


def test_a_refusal_for_want_of_memory_names_the_argument(start: Starter) -> None:
    words = "Available memory on node 0 (10.0/20.0 GiB) on startup is less than desired CPU memory utilization (0.92)."
    with pytest.raises(EngineStartError) as caught:
        start(act_load="ValueError", words=words)
    hint = "; in a test: @pytest.mark.vllm(..., gpu_memory_utilization=0.45)"
    assert str(caught.value) == f"vLLM refused model: {words.rstrip('.')}{hint}"


def test_why_another_process_of_vllm_failed_is_looked_up_in_its_log(start: Starter) -> None:
    words = "Engine core initialization failed. See root cause above. Failed core proc(s): {}"
    with pytest.raises(EngineStartError, match=r"^vLLM refused model: Engine core initialization failed"):
        start(act_load="RuntimeError", words=words)
    said = "(EngineCore pid=7) ValueError: Free memory is too small"
    with pytest.raises(EngineStartError) as caught:
        start(act_load="RuntimeError", words=words, say=said)
    assert str(caught.value) == "vLLM refused model: Free memory is too small"


def test_loading_that_takes_too_long_is_ended(start: Starter) -> None:
    with pytest.raises(EngineStartError) as caught:
        start(act_load="hang", timeouts=Timeouts(0.4, LONG, LONG))
    assert str(caught.value) == "model did not start within 0.4 s; raise vllmperf_start_timeout if it needs longer"
    assert len(start.told) > 1  # at once, and while it waits
    assert set(start.told) <= {"starting", "preparing the KV cache"}


def test_an_operation_that_takes_too_long_ends_the_engine(start: Starter) -> None:
    engine = start(act_run="hang", timeouts=Timeouts(LONG, 0.02, LONG))
    with pytest.raises(EngineTimeoutError) as caught:
        engine.run(REQUESTS, Sampling())
    assert str(caught.value) == (
        "model: run took longer than 0.02 s and the engine was stopped; raise vllmperf_operation_timeout if it "
        "needs longer"
    )
    wait_until_gone(engine.pid)
    with pytest.raises(EngineDiedError, match="is already stopped"):
        engine.reset_prefix_cache()


def test_a_stopped_engine_is_not_waited_for_while_a_large_request_is_sent(start: Starter) -> None:
    engine = start(timeouts=Timeouts(LONG, 0.3, LONG))
    os.kill(engine.pid, signal.SIGSTOP)
    large = (Request(0, 3, prompt_token_ids=tuple(range(100_000))),)
    with pytest.raises(EngineTimeoutError, match=r"model: run took longer than 0.3 s"):
        engine.run(large, Sampling())
    wait_until_gone(engine.pid)


def test_an_engine_whose_log_is_full_says_so_itself(start: Starter) -> None:
    engine = start(act_run="full")
    with pytest.raises(EngineError, match=r"^model: \[Errno 27\] File too large$"):
        engine.run(REQUESTS, Sampling())


@pytest.mark.parametrize(("kind", "error"), [("ValueError", WorkloadError), ("RuntimeError", EngineError)])
def test_what_a_run_is_refused_for_is_one_line(start: Starter, kind: str, error: type[Exception]) -> None:
    engine = start(act_run=kind, words="request 0 is too long\nand more of it")
    with pytest.raises(error) as caught:
        engine.run(REQUESTS, Sampling())
    assert str(caught.value).startswith("model: request 0 is too long")
    assert "\n" not in str(caught.value)


def test_a_refused_run_leaves_the_engine_up(start: Starter) -> None:
    engine = start(act_run="ValueError", words="too long")
    with pytest.raises(WorkloadError):
        engine.run(REQUESTS, Sampling())
    engine.reset_prefix_cache()


def test_close_asks_first(start: Starter, tmp_path: Path) -> None:
    engine = start()
    (log,) = tmp_path.glob("engine-*.log")
    with log.open() as written:
        engine.close()
        assert "shutdown None" in written.read()
    engine.close()
    wait_until_gone(engine.pid)
    assert not log.exists()  # nobody asks for the log of an engine that did not fail
    with pytest.raises(EngineDiedError, match="is already stopped"):
        engine.run(REQUESTS, Sampling())


def test_close_ends_one_that_does_not_stop(start: Starter) -> None:
    engine = start(act_shutdown="hang", timeouts=Timeouts(LONG, LONG, 0.3))
    engine.close()
    wait_until_gone(engine.pid)


def test_close_of_one_that_is_dead_already(start: Starter) -> None:
    engine = start()
    os.kill(engine.pid, signal.SIGKILL)
    wait_until_gone(engine.pid)
    engine.close()


def test_kill_leaves_no_descriptor_open(start: Starter) -> None:
    start().kill()
    before = len(list(Path("/proc/self/fd").iterdir()))
    engine = start()
    engine.kill()
    engine.kill()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    wait_until_gone(engine.pid)


def test_what_it_says_is_told(start: Starter) -> None:
    engine = start()
    assert engine.generate(REQUESTS) == Continuations(prompts=((5,),), outputs=((6, 7),))
    assert engine.score([[5, 6]]) == (TokenScores((-0.5,), (6,)),)
    chat = [[{"role": "user", "content": "hello"}]]
    assert engine.render(chat) == (RenderedChat((1,), ("own",)),)
    assert engine.render(chat, "other") == (RenderedChat((1,), ("other",)),)


@pytest.mark.parametrize("operation", ["sleep", "wake_up"])
def test_it_sleeps_and_wakes(start: Starter, tmp_path: Path, operation: str) -> None:
    engine = start()
    getattr(engine, operation)()
    (log,) = tmp_path.glob("engine-*.log")
    assert f"{operation} None" in log.read_text()


def test_how_the_weights_are_held_is_told(start: Starter) -> None:
    weights = start().facts.weights
    assert weights is not None
    assert (weights.weight_bytes, weights.layers) == (5, (WeightLayers("Plain", False, 2, 8, 16),))


@pytest.mark.parametrize(
    "words",
    [
        "The quantization method fp8 is not supported for the current GPU. Minimum capability: 89.",
        "'_OpNamespace' '_C' object has no attribute 'cpu_gemm_wna16'",
        "Failed to find a kernel that can implement the WNA16 linear layer",
        "Unknown quantization method: bitsandbytes. Must be one of ['awq', 'fp8']",
    ],
)
def test_what_a_build_or_device_cannot_run_is_told_apart(start: Starter, words: str) -> None:
    with pytest.raises(EngineUnsupportedError, match=r"vLLM refused model: "):
        start(act_load="RuntimeError", words=words)
    engine = start(act_run="RuntimeError", words=words)
    with pytest.raises(EngineUnsupportedError, match=r"^model: "):
        engine.run(REQUESTS, Sampling())
