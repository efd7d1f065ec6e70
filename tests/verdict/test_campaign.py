"""The verdict on engines of a real GPU: 34 starts of one model in four sessions, and starts slowed on the device."""

from __future__ import annotations

from collections import Counter

import pytest

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.storage.baselines import load
from tests.verdict.conftest import ROOT, bench

TRIALS = 300
CHECK = "test_decode[awq]"
RECORDED = ROOT / "baselines/nvidia-h200/tests/studies/test_noise.json"
SLOWED = ROOT / "bench/campaign/nvidia-h200"

campaign = bench("campaign")


def tally(metric: str, kind: str, *files: str) -> Counter[Status]:
    slowed = [(file, campaign.slowed_engines(SLOWED / f"{file}.json", CHECK)) for file in files]
    kinds = {one.name: one for one in campaign.kinds(load(RECORDED).tests[CHECK].sessions, slowed)}
    found, _ = campaign.tally(METRICS[metric], kinds[kind], TRIALS, campaign.settings_of(RECORDED, CHECK))
    assert sum(found.values()) == TRIALS
    return found  # type: ignore[no-any-return]


def test_the_campaign_is_what_it_is_said_to_be() -> None:
    sessions = load(RECORDED).tests[CHECK].sessions
    assert [len(session.engines) for session in sessions] == [3, 5, 6, 20]
    assert all(len(engine.values("output_throughput")) == 10 for engine in sessions[-1].engines)


@pytest.mark.parametrize("kind", ["any split", "another session"])
@pytest.mark.parametrize("metric", ["output_throughput", "tpot.p50", "e2e.p50"])
def test_equal_engines_are_equal(metric: str, kind: str) -> None:
    assert tally(metric, kind) == {Status.OK: TRIALS}


@pytest.mark.parametrize("metric", ["output_throughput", "tpot.p50", "e2e.p50"])
def test_a_slowdown_of_ten_percent_is_always_caught(metric: str) -> None:
    assert tally(metric, "slower-by-10-percent", "slower-by-10-percent") == {Status.REGRESSED: TRIALS}


def test_a_slowdown_as_large_as_the_margin_is_hardly_ever_silent() -> None:
    """At the margin itself OK may come in one of ten cases (a_pass); noisy tests of the same profile add to it."""
    found = tally("output_throughput", "slower-by-5-percent", "slower-by-5-percent")
    assert found[Status.OK] + found[Status.IMPROVED] <= 0.01 * TRIALS
    assert found[Status.REGRESSED] > 0.8 * TRIALS


def test_a_slowdown_within_the_margin_is_no_regression() -> None:
    found = tally("output_throughput", "slower-by-3-percent", "slower-by-3-percent")
    assert found[Status.REGRESSED] == found[Status.IMPROVED] == 0


def test_a_slower_step_leaves_the_first_token_alone() -> None:
    assert tally("ttft.p50", "slower-by-10-percent", "slower-by-10-percent")[Status.REGRESSED] == 0
