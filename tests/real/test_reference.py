"""The reference engine: plain transformers, on the same work and in the same terms as vLLM."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_vllmperf.engines.base import Engine, Profiles, able
from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.errors import EngineStartError, ProfileError, WorkloadError
from pytest_vllmperf.metrics.reduce import iteration_metrics
from pytest_vllmperf.records.engine import Sampling
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.validity.quantization import effective_bits, mismatch
from pytest_vllmperf.workload import Request, Workload

from .conftest import MODEL, quiet

WORK = Workload.synthetic(requests=5, input_tokens=(8, 24), output_tokens=(4, 9))


@pytest.fixture(scope="module")
def reference(launcher: Launcher) -> Engine:
    spec = EngineSpec.create(MODEL, backend="transformers", dtype="float32", batch_size=2, max_model_len=256)
    return launcher.start(spec, {}, quiet)


def sent(engine: Engine, workload: Workload = WORK) -> tuple[Request, ...]:
    return workload.requests(engine.facts.vocab_size, engine.facts.special_token_ids)


def test_it_is_measured_in_the_same_terms(reference: Engine) -> None:
    requests = sent(reference)
    result = reference.run(requests, Sampling())
    assert [record.output_tokens for record in result.requests] == [request.output_tokens for request in requests]
    assert {record.finish_reason for record in result.requests} == {"length"}
    for record in result.requests:
        assert record.queued_ts <= record.scheduled_ts < record.first_token_ts < record.last_token_ts
    assert len(result.itl_ns) == sum(request.output_tokens - 1 for request in requests)
    steps = [max(request.output_tokens for request in requests[first : first + 2]) for first in (0, 2, 4)]
    assert result.engine_steps == sum(steps)
    values = iteration_metrics(result)
    assert values["ttft.p50"] < values["e2e.p50"]
    assert not {"preemptions", "prefix_cache_hit_tokens"} & set(values)  # it has neither


def test_one_on_a_cpu_cannot_be_profiled(reference: Engine) -> None:
    one = able(reference, Profiles)
    assert one.unprofiled == "the engine runs on a CPU"
    with pytest.raises(ProfileError, match=r"^the engine runs on a CPU$"):
        one.profile_start()
    result = reference.run(sent(reference), Sampling())
    assert (result.instructions is None) == ("cpu_instructions" in reference.facts.unmeasured)


def test_batches_follow_one_another(reference: Engine) -> None:
    records = reference.run(sent(reference), Sampling()).requests
    assert len({record.queued_ts for record in records}) == 1
    starts = [record.scheduled_ts for record in records]
    assert starts[0] == starts[1] < starts[2] == starts[3] < starts[4]
    assert starts[2] >= max(record.last_token_ts for record in records[:2])


def test_concurrency_bounds_the_batch(reference: Engine) -> None:
    records = reference.run(sent(reference), Sampling(concurrency=1)).requests
    assert len({record.scheduled_ts for record in records}) == 5
    assert all(record.queued_ts == record.scheduled_ts for record in records)


def test_it_says_what_vllm_says(reference: Engine, engine: Engine) -> None:
    requests = [Request(index, 12, prompt=text) for index, text in enumerate(["Hello there", "What a day it was"])]
    own, other = reference.generate(requests), engine.generate(requests)
    assert own == other
    sequences = [[*prompt, *output] for prompt, output in zip(own.prompts, own.outputs, strict=True)]
    for mine, theirs in zip(reference.score(sequences), engine.score(sequences), strict=True):
        assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
        assert mine.top == theirs.top


def test_a_sequence_that_fills_the_model_can_be_scored(reference: Engine, engine: Engine) -> None:
    request = Request(0, 12, prompt_token_ids=tuple(range(300, 800)))  # 500 and 12, of 512
    made = engine.generate([request])
    (scores,) = engine.score([[*made.prompts[0], *made.outputs[0]]])
    assert len(scores.logprobs) == 511
    assert scores.top[-12:] == made.outputs[0]  # greedy: each token is the most probable one
    (other,) = reference.score([[*made.prompts[0], *made.outputs[0]]])
    assert scores.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_padding_does_not_change_what_it_says(reference: Engine) -> None:
    """In one batch with a longer prompt, a short one still gives its own tokens."""
    requests = [
        Request(0, 6, prompt="Hi"),
        Request(1, 6, prompt="A much longer prompt that fills the batch with words"),
    ]
    alone = reference.generate(requests).outputs
    scored = reference.score([[*prompt, *output] for prompt, output in zip(reference.generate(requests).prompts, alone,
                                                                           strict=True)])  # fmt: skip
    for one, output in zip(scored, alone, strict=True):
        assert one.top[-len(output) :] == output  # greedy: each token is the most probable one


def test_it_renders_chats_as_vllm_does(reference: Engine, engine: Engine) -> None:
    chats = [[{"role": "user", "content": "hello"}]]
    assert reference.render(chats) == engine.render(chats)
    (own,) = engine.render(chats)
    assert len(own.ids) == len(own.tokens) > 3


def test_a_request_that_does_not_fit_is_refused(reference: Engine) -> None:
    with pytest.raises(WorkloadError, match="more than max_model_len=256"):
        reference.run([Request(0, 250, prompt="hello there and more of it")], Sampling())


def test_nf4_is_what_it_says(launcher: Launcher, reference: Engine) -> None:
    spec = EngineSpec.create(MODEL, backend="transformers", dtype="float32", quantization="bitsandbytes-nf4")
    engine = launcher.start(spec, {}, quiet)
    try:
        weights, full = engine.facts.weights, reference.facts.weights
        assert weights is not None
        assert full is not None
        assert mismatch(weights) is None
        assert {layer.method for layer in weights.layers} == {"Linear4bit"}
        assert effective_bits(weights.layers) == pytest.approx(4, abs=0.01)
        assert weights.declared["bnb_4bit_use_double_quant"] is True
        assert (weights.weight_bytes or 0) < 0.6 * (full.weight_bytes or 0)
        assert engine.facts.versions["bitsandbytes"]
        requests = sent(engine)
        assert [record.output_tokens for record in engine.run(requests, Sampling()).requests] == [
            request.output_tokens for request in requests
        ]
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"quantization": "awq"}, "this backend does not support quantization='awq'; choose one of bitsandbytes-nf4"),
        ({"batch_size": 0}, "batch_size=0 must be a whole number of at least 1"),
        ({"no_such_argument": 1}, "no_such_argument"),
    ],
)
def test_what_it_refuses_is_one_line(launcher: Launcher, args: dict[str, object], told: str) -> None:
    with pytest.raises(EngineStartError, match="transformers refused vllmperf:tiny: ") as caught:
        launcher.start(EngineSpec.create(MODEL, backend="transformers", **args), {}, quiet)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_vllm_tells_how_it_holds_its_weights(start: Callable[..., Engine], engine: Engine) -> None:
    weights = engine.facts.weights
    assert weights is not None
    assert mismatch(weights) is None
    assert not any(layer.quantized for layer in weights.layers)
    assert effective_bits([]) is None
    plain = sum(layer.held_bytes or 0 for layer in weights.layers)
    assert plain < (weights.weight_bytes or 0) < 4 * plain
