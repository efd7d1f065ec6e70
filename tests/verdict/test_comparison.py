"""Two engines against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_vllmperf.errors import SampleError
from pytest_vllmperf.stats import Direction
from pytest_vllmperf.verdict import ClaimOutcome, compare

HIGHER, LOWER = Direction.HIGHER, Direction.LOWER


def rounds(seed: int, count: int, level: float, noise: float = 1.0) -> list[list[float]]:
    """Rounds with a drift of 20 % from first to last, the same for whatever is measured in them."""
    rng = np.random.default_rng(seed)
    by_engine = rng.normal(0, 0.015 * noise, (count, 1)) + rng.normal(0, 0.02 * noise, (count, 10))
    drift = np.linspace(1, 1.2, count)[:, np.newaxis]
    made: list[list[float]] = (level * drift * np.exp(by_engine)).tolist()
    return made


def test_a_speedup_is_found_through_drift() -> None:
    result = compare("output throughput", HIGHER, rounds(1, 4, 1200.0), rounds(2, 4, 100.0))
    assert result.ratio == pytest.approx(12, rel=0.05)
    assert result.low < result.ratio < result.high
    assert result.rounds == 4
    assert result.at_least(10).outcome is ClaimOutcome.SHOWN
    assert result.at_least(10).rounds_to_decide == 4
    assert result.at_least(15).outcome is ClaimOutcome.REFUTED
    assert result.not_slower(0.05).outcome is ClaimOutcome.SHOWN


def test_a_claim_passes_exactly_up_to_the_lower_bound() -> None:
    result = compare("m", HIGHER, rounds(1, 4, 120.0), rounds(2, 4, 100.0))
    assert result.at_least(result.low * (1 - 1e-9)).outcome is ClaimOutcome.SHOWN
    assert result.at_least(result.low * (1 + 1e-9)).outcome is ClaimOutcome.INCONCLUSIVE
    assert result.at_least(result.high * (1 - 1e-9)).outcome is ClaimOutcome.INCONCLUSIVE
    assert result.at_least(result.high * (1 + 1e-9)).outcome is ClaimOutcome.REFUTED


def test_for_latencies_the_ratio_is_the_other_way_round() -> None:
    fast, slow = rounds(1, 4, 0.5), rounds(2, 4, 1.0)
    assert compare("ttft", LOWER, fast, slow).ratio == pytest.approx(2, rel=0.05)
    assert compare("ttft", LOWER, slow, fast).not_slower(0.05).outcome is ClaimOutcome.REFUTED


def test_swapping_sides_inverts_the_ratio_and_its_bounds() -> None:
    a, b = rounds(1, 5, 110.0), rounds(2, 5, 100.0)
    forth, back = compare("m", HIGHER, a, b), compare("m", HIGHER, b, a)
    assert forth.ratio * back.ratio == pytest.approx(1)
    assert forth.low * back.high == pytest.approx(1)


def test_inconclusive_says_how_many_rounds_would_decide() -> None:
    result = compare("m", HIGHER, rounds(1, 3, 100.0), rounds(2, 3, 100.0))
    target = result.ratio / 1.01
    claim = result.at_least(target)
    assert claim.outcome is ClaimOutcome.INCONCLUSIVE
    assert claim.rounds_to_decide is not None
    assert 3 < claim.rounds_to_decide < 100
    per_round = [math.sqrt(result.round_variance / n) for n in (claim.rounds_to_decide, 3)]
    assert per_round[0] < math.log(1.01) / 1.9 < per_round[1] * 1.9
    assert result.at_least(result.ratio).rounds_to_decide is None


def test_bounds_hold_as_often_as_they_say() -> None:
    missed = 0
    for seed in range(400):
        result = compare("m", HIGHER, rounds(2 * seed, 4, 110.0), rounds(2 * seed + 1, 4, 100.0), alpha=0.1)
        missed += not result.low < 1.1 < result.high
    assert 20 < missed < 120, "80 of 400 expected"


def test_one_round_rests_on_the_prior() -> None:
    result = compare("m", HIGHER, rounds(1, 1, 120.0), rounds(2, 1, 100.0))
    assert result.round_df == pytest.approx(4)
    assert result.round_variance > 2 * 0.015**2
    assert result.at_least(1.0).outcome is ClaimOutcome.SHOWN


def test_comparisons_refuse_bad_input() -> None:
    good = rounds(1, 3, 100.0)
    with pytest.raises(SampleError, match="m: 3 rounds of a, 2 of b"):
        compare("m", HIGHER, good, good[:2])
    with pytest.raises(SampleError, match=r"m \(a\): no engines"):
        compare("m", HIGHER, [], [])
    with pytest.raises(SampleError, match=r"m \(a\)\[0\]\[1\]"):
        compare("m", HIGHER, [[1.0, math.nan]], [[1.0]])
    with pytest.raises(ValueError, match="alpha"):
        compare("m", HIGHER, good, good, alpha=0.5)
    result = compare("m", HIGHER, good, good)
    for ratio in (0.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="ratio"):
            result.at_least(ratio)
    with pytest.raises(ValueError, match="margin"):
        result.not_slower(1.0)
