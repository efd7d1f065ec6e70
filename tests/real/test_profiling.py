"""Engines without a GPU cannot be profiled: they say so, and are what they were."""

from __future__ import annotations

import pytest

from pytest_vllmperf.engines.base import Engine, Profiles, able
from pytest_vllmperf.errors import ProfileError
from pytest_vllmperf.lab.driving import measure
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.workload import Workload

WORK = Workload.synthetic(requests=8, input_tokens=16, output_tokens=6)
ONCE = MeasureSettings(warmup=0, iterations=1)


def counted(engine: Engine) -> tuple[object, ...]:
    (result,) = measure(engine, WORK, ONCE, lambda _: None).iterations
    lengths = tuple(request.output_tokens for request in result.requests)
    return (result.engine_steps, result.preemptions, result.prefix_cache_hit_tokens, lengths)


def test_an_engine_on_a_cpu_says_why_and_goes_on(engine: Engine) -> None:
    before = counted(engine)
    one = able(engine, Profiles)
    assert one.unprofiled == "the engine runs on a CPU"
    with pytest.raises(ProfileError, match=r"^the engine runs on a CPU$"):  # by its worker's own word
        one.profile_start()
    with pytest.raises(ProfileError, match=r"^no recording is in progress$"):
        one.profile_stop()
    assert counted(engine) == before


def test_instructions_are_counted_or_it_is_told_why_not(engine: Engine) -> None:
    (result,) = measure(engine, WORK, ONCE, lambda _: None).iterations
    if engine.facts.unmeasured:
        assert result.instructions is None
        assert engine.facts.unmeasured["cpu_instructions"]
    else:
        assert result.instructions is not None
        assert result.instructions > 1e6
