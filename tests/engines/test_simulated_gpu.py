"""The scripted engine's GPU: kernels, their noise, and a pass that fails."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from statistics import pstdev
from typing import Any

import pytest

from pytest_vllmperf.engines.base import Profiles
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import EngineDiedError, EngineStartError, ProfileError
from pytest_vllmperf.records.engine import Sampling
from pytest_vllmperf.records.kernels import KernelTime, RankUse
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload

KERNELS = {"attention": (8, 0.02), "matmul": (16, 0.06)}
SENT = Workload.synthetic(requests=3, input_tokens=10, output_tokens=4).requests(100)


def engine(start: int = 0, **script: Any) -> SimulatedEngine:
    arguments = {"gpu_kernels": KERNELS, **script}
    return SimulatedEngine(EngineSpec.create("org/m", backend="simulated", **arguments), start)


def profiled(one: SimulatedEngine, trace: Path | None = None) -> RankUse:
    one.profile_start(trace)
    one.run(SENT, Sampling())
    (rank,) = one.profile_stop()
    return rank


def test_its_kernels_are_those_of_the_script() -> None:
    one = engine(max_num_seqs=2, step_seconds=1.0, prefill_seconds_per_token=0)
    assert isinstance(one, Profiles)
    rank = profiled(one)
    assert rank.kernels == (KernelTime("attention", 8, 0.02), KernelTime("matmul", 16, 0.06))
    assert (rank.count, rank.total, rank.busy, rank.span) == (24, pytest.approx(0.08), pytest.approx(0.08), 8.0)
    assert (rank.decode_steps, rank.prefill_steps) == (6, 2)  # two requests, then the third: each has a prefill
    assert (rank.decode, rank.prefill) == (pytest.approx(0.06), pytest.approx(0.02))


def test_starts_may_differ_in_the_time_of_kernels_alone() -> None:
    starts = [engine(number, gpu_starts=(1.0, 1.5)) for number in range(3)]
    assert [profiled(one).total for one in starts] == pytest.approx([0.08, 0.12, 0.12])
    assert len({one.run(SENT, Sampling()).busy_seconds for one in starts}) == 1


def test_kernels_have_noise_between_starts_and_iterations_the_same_for_the_same_seed() -> None:
    def totals(start: int, **script: Any) -> list[float]:
        one = engine(start, gpu_noise=0.01, **script)
        return [profiled(one).total for _ in range(50)]

    first, again, second, other = totals(0), totals(0), totals(1), totals(0, seed=7)
    assert first == again
    assert first != other
    assert 0.005 < pstdev(first) / 0.08 < 0.02
    assert len({round(sum(one) / 50, 6) for one in (first, second, other)}) == 3


def test_a_trace_is_one_that_a_browser_can_open(tmp_path: Path) -> None:
    rank = profiled(engine(), tmp_path / "trace.json.gz")
    with gzip.open(tmp_path / "trace.json.gz", "rt") as file:
        events = json.load(file)["traceEvents"]
    assert [(event["name"], event["ph"]) for event in events] == [("attention", "X"), ("matmul", "X")]
    assert sum(event["dur"] for event in events) == pytest.approx(rank.total * 1e6)


def test_no_noise_of_the_kernels_moves_the_clock() -> None:
    plain, noisy = engine(noise=0.1), engine(noise=0.1, gpu_noise=0.1)
    profiled(noisy)
    plain.run(SENT, Sampling())
    assert noisy.run(SENT, Sampling()).busy_seconds == plain.run(SENT, Sampling()).busy_seconds


@pytest.mark.parametrize(
    ("script", "reason"),
    [({"gpu_kernels": {}}, "the simulated engine has no GPU"), ({"fail": "unprofiled"}, "scripted refusal")],
)
def test_it_may_refuse_to_be_profiled_and_goes_on(script: dict[str, Any], reason: str) -> None:
    one = engine(**script)
    with pytest.raises(ProfileError, match=reason):
        one.profile_start()
    assert one.run(SENT, Sampling()).requests


def test_it_may_die_while_it_is_profiled() -> None:
    one = engine(fail="profile")
    assert one.run(SENT, Sampling()).requests
    one.profile_start()
    with pytest.raises(EngineDiedError, match="SIGKILL"):
        one.run(SENT, Sampling())


def test_a_pass_without_an_iteration_is_not_whole() -> None:
    one = engine()
    one.profile_start()
    with pytest.raises(ProfileError, match="nothing ran"):
        one.profile_stop()


@pytest.mark.parametrize("script", [{"gpu_starts": ()}, {"gpu_kernels": {"matmul": (1,)}}])
def test_a_gpu_that_cannot_be_meant_is_refused(script: dict[str, Any]) -> None:
    with pytest.raises(EngineStartError, match=f"refused m: {next(iter(script))} is not valid"):
        engine(**script)
