"""What counts as goodput: all requests, on the engines that may be asked."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.records.sweep import PointResult
from pytest_vllmperf.sweep.promise import Promise, least_share, levels, replicates

PROMISE = Promise(Slo(ttft=0.3), 0.99)


def engine(rate: float, *shares: float) -> EngineSamples:
    samples = {"goodput_rate": [rate] * len(shares), "goodput": list(shares)}
    return EngineSamples(discarded=0, iterations=len(shares), samples=samples)


def test_the_score_is_goodput_where_the_promise_is_kept_and_below_zero_elsewhere() -> None:
    assert PROMISE.score(PointResult(settings={}, engines=(engine(5.0, 1.0, 0.98),))) == 5.0
    assert PROMISE.score(PointResult(settings={}, engines=(engine(9.0, 0.98, 0.98),))) == pytest.approx(-0.02)


def test_one_bad_iteration_counts() -> None:
    assert levels([engine(1.0, 1.0, 1.0, 0.4)], "goodput") == [pytest.approx(0.8)]


def test_a_share_that_was_rounded_when_it_was_stored_is_enough() -> None:
    assert Promise(Slo(ttft=1), 2 / 3).kept_by(round(2 / 3, 9))
    assert not PROMISE.kept_by(None)


def test_void_and_failed_points_have_no_score() -> None:
    void = PointResult(settings={}, engines=(engine(5.0, 1.0),), problems=(Problem("client", "late"),))
    assert PROMISE.score(void) is None
    assert PROMISE.score(PointResult(settings={}, reason="out of memory")) is None
    assert (
        PROMISE.score(PointResult(settings={}, engines=(EngineSamples(discarded=0, iterations=1, samples={}),))) is None
    )


def test_the_score_is_of_the_first_engine_and_replicates_are_the_others() -> None:
    one = PointResult(settings={}, engines=tuple(engine(rate, 1.0) for rate in (9.0, 5.0, 6.0, 7.0)))
    assert PROMISE.score(one) == 9.0
    assert levels(replicates(one, 2), "goodput_rate") == [5.0, 6.0]


def test_a_point_that_failed_again_keeps_its_score_and_has_no_replicates() -> None:
    """A search that goes on has to go the same way; the point must not win."""
    one = PointResult(settings={}, reason="failed when measured again", engines=(engine(9.0, 1.0), engine(5.0, 1.0)))
    assert PROMISE.score(one) == 9.0
    assert replicates(one, 5) == ()


@pytest.mark.parametrize(
    ("share", "requests", "least"), [(1.0, 384, 0.05 ** (1 / 384)), (0.0, 64, 0.0), (0.5, 20, 0.3020), (1.0, 0, None)]
)
def test_the_least_share_of_clopper_and_pearson(share: float, requests: int, least: float | None) -> None:
    assert least_share(share, requests) == (None if least is None else pytest.approx(least, abs=1e-4))


def test_the_least_share_is_below_the_truth_in_nineteen_of_twenty() -> None:
    rng = np.random.default_rng(1)
    kept = rng.binomial(384, 0.99, size=4000) / 384
    bound = {share: least_share(share, 384) or 0.0 for share in set(kept)}
    assert 0.95 <= np.mean([bound[share] <= 0.99 for share in kept]) < 0.99
