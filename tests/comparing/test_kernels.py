"""Two engines by the GPU's own clock: claims about GPU time, and where their time differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_vllmperf.comparing.comparison import EngineComparison
from pytest_vllmperf.errors import CheckFailed, NotMeasuredError
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.attribution import Seen
from pytest_vllmperf.records.samples import EngineSamples
from tests.comparing import test_comparison
from tests.profiling import FLASH, KERNELS, MATMUL, ROPE, profiled, table, unprofiled

FAST, SLOW = table(FLASH, MATMUL), table(*KERNELS, ROPE)


class Rounds(test_comparison.Rounds):
    """Rounds with a device pass of both engines; `lost` says in which rounds that of a side could not be made."""

    def __init__(self, lost: dict[int, int] | None = None, **more: Any) -> None:
        super().__init__(1.0, **more)
        self.lost = lost or {}

    def measure_round(self) -> tuple[Measurement, Measurement]:
        sides = super().measure_round()
        a, b = (replace(side, engines=(self._engine(number),)) for number, side in enumerate(sides))
        return a, b

    def _engine(self, side: int) -> EngineSamples:
        if self.lost.get(self.made) == side:
            return unprofiled("CUPTI lost activities")
        return profiled((FAST, SLOW)[side], factor=noise(self.made, side))


def noise(number: int, side: int) -> float:
    return float(np.exp(np.random.default_rng(2 * number + side).normal(0, 0.001)))


def log_ratios(numbers: tuple[int, ...]) -> list[float]:
    """By how much the first engine is faster in these rounds."""
    return [float(np.log(SLOW.seconds * noise(one, 1) / (FAST.seconds * noise(one, 0)))) for one in numbers]


def compared(lost: dict[int, int] | None = None, **more: Any) -> EngineComparison:
    return Rounds(lost).compared(**more)


def test_a_claim_about_gpu_time_rests_on_the_passes_of_each_round() -> None:
    found = compared().assert_speedup(1.1, metric="gpu_time")
    assert found.ratio == pytest.approx(SLOW.seconds / FAST.seconds, rel=0.003)
    assert found.low > 1.1
    with pytest.raises(CheckFailed, match=r"^REFUTED GPU time .*: 1\.15x"):
        compared().assert_speedup(1.3, metric="gpu_time")
    assert compared().assert_not_slower("1%", metric="gpu_time").low > 0.99


def test_rounds_are_paired_although_a_side_lost_its_pass() -> None:
    """What remains of the third round of one engine is not set against what remains of the fourth of the other."""
    rounds = Rounds({3: 0, 4: 1})
    made = rounds.compared()
    found = made.assert_speedup(1.1, metric="gpu_time")
    assert (found.rounds, rounds.made) == (3, 5)
    assert found.ratio == pytest.approx(np.exp(np.median(log_ratios((1, 2, 5)))), rel=1e-6)


def test_lost_passes_do_not_ask_for_rounds_without_end() -> None:
    rounds = Rounds(dict.fromkeys(range(3, 99), 0))
    with pytest.raises(CheckFailed, match="INCONCLUSIVE"):
        rounds.compared(max_rounds=4).assert_speedup(SLOW.seconds / FAST.seconds, metric="gpu_time")
    assert rounds.made == 4


def test_too_few_passes_say_why() -> None:
    with pytest.raises(NotMeasuredError, match=r"not measured on both engines: CUPTI lost activities$"):
        compared(dict.fromkeys(range(9), 1)).assert_speedup(1.1, metric="gpu_time")
    with pytest.raises(NotMeasuredError, match=r"in 1 of 2 rounds; at least 2 are needed: CUPTI lost activities$"):
        compared({2: 0}).assert_speedup(1.1, metric="gpu_time")


def test_kernels_say_where_the_time_differs() -> None:
    made = compared()
    found = made.kernels()
    assert [one.metric for one in made.record().ratios] == ["output_throughput"], "it claims nothing"
    assert {one.name: one.seen for one in found.kernels} == {
        "rms_norm": Seen.GONE,
        "rope_kernel_v2": Seen.GONE,
        "flash_fwd": Seen.BOTH,
        "nvjet_sm90 72x64": Seen.BOTH,
    }
    assert found.interval is not None
    assert found.interval.low < FAST.seconds / SLOW.seconds - 1 < found.interval.high
    speedup = made.speedup("gpu_time")
    assert found.interval.change == pytest.approx(1 / speedup.ratio - 1), "the interval is that of the claim"
    lines = str(found).splitlines()
    assert lines[:2] == ["before: m", "after: m"]
    assert lines[2].startswith("GPU time 307.")
    assert " (99 % CI)" in " ".join(lines[2:4])
    assert lines[-1].split()[:4] == ["total", "53,940", "->", "16,128"]
    assert max(map(len, lines)) <= 80


def test_kernels_of_rounds_without_two_passes_have_no_interval() -> None:
    found = compared({2: 0}).kernels()
    assert found.interval is None
    assert found.kernels


def test_kernels_that_were_not_measured_say_why() -> None:
    with pytest.raises(NotMeasuredError, match=r"^GPU time was not measured on m: CUPTI lost activities$"):
        compared(dict.fromkeys(range(9), 1)).kernels()
