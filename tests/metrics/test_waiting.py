"""Waiting for other ranks is taken out of the use of GPUs, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.metrics.waiting import without_waiting
from pytest_vllmperf.records.kernels import Collective, KernelTime, RankUse

NAME = "cross_device_reduce"


def rank(own: float, *collectives: Collective) -> RankUse:
    """A rank that computes for so long in decode steps, and runs these."""
    spent = sum(sum(one.seconds) for one in collectives)
    in_phase = {
        phase: sum(sum(one.seconds) for one in collectives if one.phase == phase) for phase in ("decode", "prefill")
    }
    names = dict.fromkeys(one.name for one in collectives)
    kernels = [
        KernelTime(
            name,
            sum(len(one.seconds) for one in collectives if one.name == name),
            sum(sum(one.seconds) for one in collectives if one.name == name),
        )
        for name in names
    ]
    return RankUse(
        count=1 + sum(len(one.seconds) for one in collectives),
        total=own + spent,
        busy=own + spent,
        span=100.0,
        kernels=(KernelTime("gemm", 1, own), *kernels),
        decode_steps=1,
        decode=own + in_phase["decode"],
        prefill_steps=1,
        prefill=in_phase["prefill"],
        collectives=collectives,
    )


def decode(*seconds: float, name: str = NAME) -> Collective:
    return Collective(name, "decode", seconds)


def test_each_run_takes_as_long_as_on_the_rank_that_joined_last() -> None:
    one, other = without_waiting([rank(5.0, decode(1.0, 4.0, 1.0)), rank(6.0, decode(3.0, 1.0, 1.0))])
    assert one.collectives == other.collectives == (decode(1.0, 1.0, 1.0),)
    assert (one.waiting, other.waiting) == (3.0, 2.0)
    assert (one.total, other.total) == (8.0, 9.0)
    assert (one.decode, other.decode) == (8.0, 9.0)
    assert one.kernels == (KernelTime("gemm", 1, 5.0), KernelTime(NAME, 3, 3.0))
    assert (one.busy, one.span, one.count) == (11.0, 100.0, 4)  # as they were


def test_phases_are_kept_apart() -> None:
    slow = rank(1.0, decode(1.0), Collective(NAME, "prefill", (5.0,)), Collective(NAME, "", (7.0,)))
    fast = rank(1.0, decode(2.0), Collective(NAME, "prefill", (2.0,)), Collective(NAME, "", (1.0,)))
    one, other = without_waiting([slow, fast])
    assert (one.decode, one.prefill, one.total) == (2.0, 2.0, 5.0)
    assert (other.decode, other.prefill, other.total) == (2.0, 2.0, 5.0)
    assert (one.waiting, other.waiting) == (9.0, 1.0)


def test_one_rank_waits_for_nobody() -> None:
    alone = rank(2.0, decode(1.0, 3.0))
    assert without_waiting([alone]) == (alone,)
    assert without_waiting([]) == ()


@pytest.mark.parametrize(
    "other", [decode(1.0), decode(1.0, 1.0, 1.0), decode(1.0, 1.0, name="all_gather")], ids=["fewer", "more", "another"]
)
def test_ranks_that_do_other_work_keep_their_time(other: Collective) -> None:
    ranks = (rank(2.0, decode(5.0, 5.0)), rank(2.0, other))
    assert without_waiting(ranks) == ranks


@given(
    st.lists(
        st.lists(st.floats(1e-6, 1.0), min_size=5, max_size=5),
        min_size=2,
        max_size=4,
    ),
    st.floats(1.0, 2.0),
)
def test_a_slower_collective_is_seen_and_waiting_is_not(waits: Sequence[Sequence[float]], takes: float) -> None:
    """Whoever waits, and however long: each collective takes what it takes on the rank that waits the least."""
    least = [min(column) for column in zip(*waits, strict=True)]
    ranks = [rank(1.0, decode(*(takes + wait - low for wait, low in zip(row, least, strict=True)))) for row in waits]
    for found in without_waiting(ranks):
        assert found.total == pytest.approx(1.0 + 5 * takes)
        assert found.collective == pytest.approx(5 * takes)
        assert found.waiting >= -1e-9
        assert sum(one.seconds for one in found.kernels) == pytest.approx(found.total)
