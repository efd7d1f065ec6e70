"""The same workload with other numbers of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pytest_vllmperf.checking.lengths import other_lengths
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.reference import Reference
from pytest_vllmperf.records.samples import EngineSamples, Environment, Session

NOWHERE = Environment(hard={}, soft={})
PROMPTS = "the same workload has other prompt tokens in an iteration: "


def engine(prompts: Sequence[float] = (), outputs: Sequence[float] = ()) -> EngineSamples:
    given = {"prompt_tokens": list(prompts), "output_tokens": list(outputs)}
    samples = {name: values for name, values in given.items() if values}
    return EngineSamples(discarded=0, iterations=2, samples=samples)


def run(*engines: EngineSamples) -> Measurement:
    return Measurement("m", "cuda", "p", {}, NOWHERE, engines)


def stored(*engines: EngineSamples) -> list[Session]:
    return [Session(recorded="", environment=NOWHERE, engines=[one]) for one in engines]


def test_prompts_of_another_length() -> None:
    before = stored(engine([9600, 9600]), engine([9600, 9600]))
    asked = "; has the tokenizer or the chat template changed?"
    assert other_lengths(run(engine([4800, 4800])), before) == (f"{PROMPTS}9,600 -> 4,800 tokens{asked}",)
    assert other_lengths(run(engine([9601, 9601])), before) == (f"{PROMPTS}9,600 -> 9,601 tokens{asked}",)
    assert other_lengths(run(engine([9600, 9600])), before) == ()


def test_answers_of_another_length() -> None:
    [line] = other_lengths(run(engine([5, 5], [80, 80])), stored(engine([5, 5], [100, 100])))
    assert line == (
        "the same workload has other output tokens in an iteration: 100 -> 80 tokens; answers end earlier or later "
        "than they did"
    )


@pytest.mark.parametrize("now", [[95, 99], [101, 108], [90, 105], [110, 120]])
def test_what_varies_is_told_only_where_no_iteration_is_as_before(now: list[float]) -> None:
    before = stored(engine(outputs=[94, 100]), engine(outputs=[98, 109]))
    assert bool(other_lengths(run(engine(outputs=now)), before)) == (now == [110, 120])


def test_what_one_side_did_not_count_is_not_told() -> None:
    assert other_lengths(run(engine()), stored(engine([5, 5]))) == ()
    assert other_lengths(run(engine([5, 5])), stored(engine())) == ()
    assert other_lengths(run(engine([5, 5])), []) == ()


def test_in_turns_the_reference_counts() -> None:
    reference = Reference("vLLM 1", "both at once", NOWHERE, (engine([7, 7]),))
    in_turns = replace(run(engine([5, 5])), reference=reference)
    [line] = other_lengths(in_turns, stored(engine([5, 5])))
    assert "7 -> 5" in line
