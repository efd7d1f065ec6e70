"""The time for which collective kernels wait for other ranks, and the use of GPUs without it. Pure.

A collective kernel, such as the all-reduce of tensor parallelism, ends when the last rank has joined it. On the rank
that joined last it takes the shortest time: what it takes longer on any other rank is waiting. How long the ranks wait
depends on when the host launched their kernels, so it is no property of the GPU's work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_vllmperf.records.kernels import Collective, KernelTime, RankUse

_Call = tuple[str, str]
"""Name and phase of a collective kernel."""


def without_waiting(ranks: Sequence[RankUse]) -> tuple[RankUse, ...]:
    """The use of each rank, in which a collective kernel takes as long as on the rank that joined it last.

    All ranks run the same collective kernels in the same order, so that the n-th of one name and phase is the same on
    each. Kernels that not all ranks ran equally often keep their time: with pipeline parallelism ranks do other work.

    Args:
        ranks: of one iteration, with all waiting.
    """
    shortest = _shortest([{(one.name, one.phase): one.seconds for one in rank.collectives} for rank in ranks])
    return tuple(_rank(rank, shortest) for rank in ranks)


def _shortest(ranks: Sequence[Mapping[_Call, Sequence[float]]]) -> dict[_Call, tuple[float, ...]]:
    """Of each kernel that all ranks ran equally often, the shortest duration of each run."""
    calls = set.intersection(*map(set, ranks)) if ranks else set()
    durations = {call: [rank[call] for rank in ranks] for call in calls}
    return {
        call: tuple(map(min, zip(*found, strict=True)))
        for call, found in durations.items()
        if len(set(map(len, found))) == 1
    }


def _rank(rank: RankUse, shortest: Mapping[_Call, tuple[float, ...]]) -> RankUse:
    by_name: defaultdict[str, float] = defaultdict(float)
    by_phase: defaultdict[str, float] = defaultdict(float)
    collectives = []
    for one in rank.collectives:
        seconds = shortest.get((one.name, one.phase), one.seconds)
        waited = sum(one.seconds) - sum(seconds)
        by_name[one.name] += waited
        by_phase[one.phase] += waited
        collectives.append(Collective(one.name, one.phase, seconds))
    waiting = sum(by_name.values())
    return replace(
        rank,
        total=rank.total - waiting,
        decode=rank.decode - by_phase["decode"],
        prefill=rank.prefill - by_phase["prefill"],
        kernels=tuple(KernelTime(one.name, one.times, one.seconds - by_name[one.name]) for one in rank.kernels),
        collectives=tuple(collectives),
        waiting=rank.waiting + waiting,
    )
