"""Waiting for other ranks is taken out of the use of GPUs, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.metrics.waiting import without_waiting
from pytest_vllmperf.records.kernels import Collective, KernelTime, RankUse

NAME = "cross_device_reduce"


def rank(own: float, *collectives: Collective, stage: int = 0) -> RankUse:
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
        stage=stage,
        collectives=collectives,
    )


def decode(*seconds: float, name: str = NAME) -> Collective:
    return Collective(name, "decode", seconds)


def test_each_run_takes_as_long_as_on_the_rank_that_joined_last() -> None:
    one, other = without_waiting([rank(5.0, decode(1.0, 4.0, 1.0)), rank(6.0, decode(3.0, 1.0, 1.0))])
    assert one.collective == other.collective == 3.0
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
    assert without_waiting([alone]) == (replace(alone, collectives=(), collective=4.0),)
    assert without_waiting([]) == ()


@pytest.mark.parametrize(
    "other", [decode(1.0), decode(1.0, 1.0, 1.0), decode(1.0, 1.0, name="all_gather")], ids=["fewer", "more", "another"]
)
def test_ranks_that_do_other_work_keep_their_time(other: Collective) -> None:
    ranks = (rank(2.0, decode(5.0, 5.0)), rank(2.0, other))
    found = without_waiting(ranks)
    assert [one.total for one in found] == [one.total for one in ranks]
    assert [one.waiting for one in found] == [None, None], "not none at all: nobody knows"


def test_each_run_of_a_kernel_is_forgotten_once_the_ranks_are_compared() -> None:
    """An iteration has hundreds of thousands of them on eight ranks."""
    assert all(not one.collectives for one in without_waiting([rank(1.0, decode(1.0)), rank(1.0, decode(2.0))]))


def test_ranks_of_two_pipeline_stages_are_not_compared() -> None:
    """They run as many kernels of one name, but not the same: what the slower stage takes is not waiting."""
    fast = [rank(1.0, decode(1.0, 2.0)), rank(1.0, decode(2.0, 1.0))]
    slow = [rank(1.0, decode(5.0, 6.0), stage=1), rank(1.0, decode(7.0, 5.0), stage=1)]
    found = without_waiting([*fast, *slow])
    assert [one.collective for one in found] == [2.0, 2.0, 10.0, 10.0]
    assert [one.waiting for one in found] == [1.0, 1.0, 1.0, 2.0]
    alone = without_waiting([fast[0], slow[0]])
    assert [one.total for one in alone] == [4.0, 12.0]
    assert [one.waiting for one in alone] == [None, None]


def test_what_a_stage_sends_to_another_is_not_compared() -> None:
    """Each rank sends to its own peer: no two ranks of a stage join in it. Without stages it is an all-to-all."""
    sends = [decode(1.0, name="ncclDevKernel_SendRecv"), decode(4.0, name="ncclDevKernel_SendRecv")]
    together = without_waiting([rank(1.0, one) for one in sends])
    assert [one.collective for one in together] == [1.0, 1.0]
    stages = without_waiting([rank(1.0, one, stage=stage) for stage in (0, 1) for one in sends])
    assert [one.total for one in stages] == [2.0, 5.0, 2.0, 5.0]


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
        assert found.waiting is not None
        assert found.waiting >= -1e-9
        assert sum(one.seconds for one in found.kernels) == pytest.approx(found.total)
