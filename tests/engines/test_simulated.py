"""The scripted engine: its counters and timestamps belong together."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import EngineDiedError, EngineStartError, WorkloadError
from pytest_vllmperf.records.engine import Sampling
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload

relaxed = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def engine(**script: Any) -> SimulatedEngine:
    return SimulatedEngine(EngineSpec.create("org/m", backend="simulated", **script))


@relaxed
@given(
    requests=st.integers(1, 12),
    output=st.tuples(st.integers(1, 5), st.integers(5, 9)),
    concurrency=st.none() | st.integers(1, 6),
    limit=st.integers(1, 6),
    noise=st.sampled_from([0.0, 0.2]),
)
def test_what_it_tells_belongs_together(
    requests: int, output: tuple[int, int], concurrency: int | None, limit: int, noise: float
) -> None:
    workload = Workload.synthetic(requests=requests, input_tokens=(2, 9), output_tokens=output)
    sent = workload.requests(100)
    result = engine(max_num_seqs=limit, noise=noise).run(sent, Sampling(concurrency))
    assert [record.index for record in result.requests] == list(range(requests))
    for request, record in zip(sent, result.requests, strict=True):
        assert record.output_tokens == request.output_tokens
        assert record.prompt_tokens == len(request.prompt_token_ids or ())
        assert record.finish_reason == "length"
        assert record.queued_ts <= record.scheduled_ts < record.first_token_ts <= record.last_token_ts
    assert len(result.itl_ns) == sum(request.output_tokens - 1 for request in sent)
    decoding = sum(record.last_token_ts - record.first_token_ts for record in result.requests)
    assert sum(result.itl_ns) * 1e-9 == pytest.approx(decoding, abs=1e-6)
    assert result.busy_seconds == pytest.approx(
        max(record.last_token_ts for record in result.requests) - min(r.queued_ts for r in result.requests)
    )
    allowed = min(limit, concurrency or requests)
    tokens = sum(request.output_tokens for request in sent)
    assert -(-tokens // allowed) <= result.engine_steps <= tokens
    overlap = Counter(
        sum(other.scheduled_ts < record.last_token_ts <= other.last_token_ts for other in result.requests)
        for record in result.requests
    )
    assert max(overlap) <= allowed


def test_steps_and_time_by_hand() -> None:
    sent = Workload.synthetic(requests=3, input_tokens=10, output_tokens=4).requests(100)
    result = engine(step_seconds=1.0, prefill_seconds_per_token=0.1, max_num_seqs=2).run(sent, Sampling())
    # Two requests: 1 + 2 (prefill of 20 tokens), then 3 steps; the third: 1 + 1, then 3 steps.
    assert result.engine_steps == 8
    assert result.busy_seconds == pytest.approx(3 + 3 + 2 + 3)
    first, _, third = result.requests
    assert first.first_token_ts - first.queued_ts == pytest.approx(3)
    assert third.scheduled_ts - third.queued_ts == pytest.approx(6)
    assert third.first_token_ts - third.scheduled_ts == pytest.approx(2)


def test_in_a_closed_loop_a_request_is_queued_when_there_is_room() -> None:
    sent = Workload.synthetic(requests=3, input_tokens=10, output_tokens=4).requests(100)
    result = engine().run(sent, Sampling(concurrency=1))
    assert all(record.queued_ts == record.scheduled_ts for record in result.requests)
    assert result.requests[1].queued_ts == result.requests[0].last_token_ts


def test_its_clock_goes_on_between_iterations() -> None:
    one = engine()
    sent = Workload.synthetic(requests=1, input_tokens=4, output_tokens=4).requests(100)
    first, second = one.run(sent, Sampling()), one.run(sent, Sampling())
    assert second.requests[0].queued_ts == first.requests[0].last_token_ts
    assert second.busy_seconds == pytest.approx(first.busy_seconds)


def test_noise_is_the_same_for_the_same_seed() -> None:
    sent = Workload.synthetic(requests=4, input_tokens=4, output_tokens=8).requests(100)
    a, b, c, quiet = (
        engine(noise=noise, seed=seed).run(sent, Sampling()).itl_ns
        for noise, seed in ((0.1, 1), (0.1, 1), (0.1, 2), (0.0, 1))
    )
    assert a == b != c
    assert len(set(a)) > len(set(quiet))


def test_another_interpreters_engine_has_arguments_and_noise_of_its_own(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    sent = Workload.synthetic(requests=1, input_tokens=4, output_tokens=4).requests(100)
    script = {"prefill_seconds_per_token": 0, "elsewhere": {"step_seconds": 0.02}}
    here, there = (engine(python=one, **script).run(sent, Sampling()).busy_seconds for one in (None, python))
    assert (here, there) == (pytest.approx(0.04), pytest.approx(0.08))
    noisy = [engine(python=one, noise=0.1).run(sent, Sampling()).busy_seconds for one in (None, python)]
    assert noisy[0] != noisy[1]
    with pytest.raises(EngineStartError, match=r"refused m: .*speed"):
        engine(python=python, elsewhere={"speed": 2})


def test_text_and_chats_have_lengths_too() -> None:
    text = Workload.prompts(["one two three"], output_tokens=2).requests(100)
    chat = Workload.chat([[{"role": "user", "content": "one two"}]], output_tokens=2).requests(100)
    assert engine().run(text, Sampling()).requests[0].prompt_tokens == 3
    assert engine().run(chat, Sampling()).requests[0].prompt_tokens == 2


def test_a_request_that_is_too_long_is_refused() -> None:
    sent = Workload.prompts(["one two three"], output_tokens=6).requests(100)
    with pytest.raises(WorkloadError, match="request 0 takes 9 tokens, more than max_model_len=8"):
        engine(max_model_len=8).run(sent, Sampling())


def test_scripted_failures() -> None:
    sent = Workload.synthetic(requests=1, input_tokens=4, output_tokens=4).requests(100)
    with pytest.raises(EngineStartError, match="scripted failure") as refused:
        engine(fail="load")
    assert refused.value.log_tail == "scripted log"
    with pytest.raises(EngineDiedError, match="SIGKILL") as died:
        engine(fail="run").run(sent, Sampling())
    assert died.value.log_tail == "scripted log"
    assert engine(fail="short").run(sent, Sampling()).requests[0].output_tokens == 3


@pytest.mark.parametrize("script", [{"max_model_length": 1}, {"max_num_seqs": 0}, {"fail": "laod"}])
def test_a_script_that_cannot_be_meant_is_refused(script: dict[str, Any]) -> None:
    with pytest.raises(EngineStartError, match="the simulated engine refused m") as caught:
        engine(**script)
    assert next(iter(script)) in str(caught.value)


def test_facts_are_those_of_the_script() -> None:
    facts = engine(max_model_len=99, kv_cache_tokens=10, load_seconds=3.0, max_num_seqs=7).facts
    assert (facts.device, facts.max_model_len, facts.kv_cache_tokens, facts.kv_cache_bytes) == (
        "simulated",
        99,
        10,
        10240,
    )
    assert facts.load_time == {"total": 3.0}
    assert facts.resolved == {"max_num_seqs": 7}


def test_stopping_does_no_harm() -> None:
    one = engine()
    one.close()
    one.kill()
    one.close()


SENT = Workload.synthetic(requests=1, input_tokens=2, output_tokens=5).requests(100)


def test_starts_may_differ_in_speed() -> None:
    spec = EngineSpec.create("m", backend="simulated", starts=(1.0, 2.0, 4.0), prefill_seconds_per_token=0)
    busy = [SimulatedEngine(spec, start).run(SENT, Sampling(None)).busy_seconds for start in range(5)]
    assert [value / busy[0] for value in busy] == pytest.approx([1, 2, 4, 4, 4])


def test_starts_have_noise_of_their_own() -> None:
    spec = EngineSpec.create("m", backend="simulated", noise=0.1)
    first, again, second = (SimulatedEngine(spec, n).run(SENT, Sampling(None)).busy_seconds for n in (0, 0, 1))
    assert first == again != second


def test_it_may_die_on_later_starts_alone() -> None:
    spec = EngineSpec.create("m", backend="simulated", fail="again")
    assert SimulatedEngine(spec).run(SENT, Sampling(None)).requests
    with pytest.raises(EngineDiedError):
        SimulatedEngine(spec, 1).run(SENT, Sampling(None))
