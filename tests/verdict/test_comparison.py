"""Two engines against each other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pytest_vllmperf.errors import SampleError
from pytest_vllmperf.stats import WALL_CLOCK, Direction
from pytest_vllmperf.verdict import ClaimOutcome, compare
from pytest_vllmperf.verdict.comparison import MIN_ROUNDS, VAGUE, known_noise, spent

HIGHER, LOWER = Direction.HIGHER, Direction.LOWER
HISTORY = replace(WALL_CLOCK, engine_sd=0.002, metrics=40, sessions=5)


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
    gap = math.log(1.01)
    claim = result.at_least(result.ratio / 1.01)
    assert claim.outcome is ClaimOutcome.INCONCLUSIVE
    assert claim.rounds_to_decide is not None
    assert 3 < claim.rounds_to_decide < 100
    reach = [result._reach(claim.rounds_to_decide - fewer) for fewer in (0, 1)]
    assert reach[0] < gap <= reach[1]
    assert result.at_least(result.ratio).rounds_to_decide is None


def test_more_rounds_of_the_same_noise_narrow_the_interval() -> None:
    result = compare("m", HIGHER, rounds(1, 3, 100.0), rounds(2, 3, 100.0))
    reach = [result._reach(count) for count in range(3, 60)]
    assert reach == sorted(reach, reverse=True)


def test_bounds_hold_as_often_as_they_say() -> None:
    missed, trials, share = 0, 400, 2 * spent(4, 4, 0.1)
    for seed in range(trials):
        a, b = rounds(2 * seed, 4, 110.0), rounds(2 * seed + 1, 4, 100.0)
        result = compare("m", HIGHER, a, b, max_rounds=4, alpha=0.1)
        missed += not result.low < 1.1 < result.high
    assert share == pytest.approx(0.116, abs=0.001)
    assert 0.4 * share * trials < missed < 1.6 * share * trials


@pytest.mark.parametrize("most", [2, 3, 6, 10])
def test_the_error_of_all_looks_is_alpha(most: int) -> None:
    shares = [spent(count, most, 0.005) for count in range(MIN_ROUNDS, most + 1)]
    assert math.fsum(shares) == pytest.approx(0.005)
    assert shares[1:] == sorted(shares[1:]), "the last look has the most"


def test_the_interval_is_wider_than_that_of_rounds_fixed_beforehand() -> None:
    """One look at three rounds may spend the whole error."""
    a, b = rounds(1, 3, 110.0), rounds(2, 3, 100.0)
    several, fixed = (compare("m", HIGHER, a, b, prior=HISTORY, max_rounds=most) for most in (6, 3))
    assert several.ratio == fixed.ratio
    assert several.low < fixed.low < fixed.ratio < fixed.high < several.high
    only_one = spent(3, 3, 0.005)
    assert several._reach(3) > fixed._reach(3) * 1.1
    assert only_one > 3 * spent(3, 6, 0.005)


def test_looking_after_every_round_shows_no_more_false_claims_than_one_error() -> None:
    """The claim lies exactly at the truth; an assertion stops at the first look that shows it."""
    shown, trials = 0, 200
    for seed in range(trials):
        a, b = rounds(2 * seed, 6, 100.0), rounds(2 * seed + 1, 6, 100.0)
        looks = (compare("m", HIGHER, a[:n], b[:n], alpha=0.1).at_least(1.0).outcome for n in range(2, 7))
        shown += ClaimOutcome.SHOWN in looks
    assert shown < 0.1 * trials + 3 * (0.09 * trials) ** 0.5


def test_a_history_of_the_profile_narrows_the_interval() -> None:
    a, b = rounds(1, 2, 103.0, noise=0.1), rounds(2, 2, 100.0, noise=0.1)
    alone, known = compare("m", HIGHER, a, b), compare("m", HIGHER, a, b, prior=HISTORY)
    assert (alone.from_history, known.from_history) == (False, True)
    assert alone.ratio == known.ratio
    assert alone.low < known.low < known.high < alone.high
    assert known.high - known.low < 0.5 * (alone.high - alone.low)
    assert known.at_least(1.0).outcome is ClaimOutcome.SHOWN
    assert alone.at_least(1.0).outcome is ClaimOutcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("metrics", "sessions", "known"), [(40, 5, True), (10, 3, True), (9, 5, False), (40, 2, False)]
)
def test_a_history_of_too_little_is_none(metrics: int, sessions: int, known: bool) -> None:
    prior = replace(WALL_CLOCK, metrics=metrics, sessions=sessions)
    assert known_noise(prior) is (prior if known else VAGUE)
    assert known_noise(None) is VAGUE


def test_one_round_is_enough_where_the_profile_says_what_it_varies_by() -> None:
    result = compare("m", HIGHER, rounds(1, 1, 130.0, noise=0.1), rounds(2, 1, 100.0, noise=0.1), prior=HISTORY)
    assert result.at_least(1.2).outcome is ClaimOutcome.SHOWN


def test_comparisons_refuse_bad_input() -> None:
    good = rounds(1, 3, 100.0)
    with pytest.raises(SampleError, match="m: 3 rounds of a, 2 of b"):
        compare("m", HIGHER, good, good[:2])
    with pytest.raises(SampleError, match="m: 1 rounds; a comparison needs at least 2"):
        compare("m", HIGHER, good[:1], good[:1])
    with pytest.raises(SampleError, match="m: 0 rounds"):
        compare("m", HIGHER, [], [])
    with pytest.raises(SampleError, match=r"m \(a\)\[1\]\[1\]"):
        compare("m", HIGHER, [[1.0, 1.0], [1.0, math.nan]], [[1.0]] * 2)
    with pytest.raises(ValueError, match="alpha"):
        compare("m", HIGHER, good, good, alpha=0.5)
    result = compare("m", HIGHER, good, good)
    for ratio in (0.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="ratio"):
            result.at_least(ratio)
    with pytest.raises(ValueError, match="margin"):
        result.not_slower(1.0)
