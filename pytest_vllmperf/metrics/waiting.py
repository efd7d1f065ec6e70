"""The time for which collective kernels wait for other ranks, and the use of GPUs without it. Pure.

A collective kernel, such as the all-reduce of tensor parallelism, ends when the last rank has joined it. On the rank
that joined last it takes the shortest time: what it takes longer on any other rank is waiting. How long the ranks wait
depends on when the host launched their kernels, so it is no property of the GPU's work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pytest_vllmperf.records.kernels import KernelTime, RankUse

_BETWEEN_TWO: Final = "sendrecv"
"""Part of the name of NCCL's kernel that sends to one rank, or receives from one; all-to-all is made of it too."""

_Call = tuple[str, str]
"""Name and phase of a collective kernel."""


def without_waiting(ranks: Sequence[RankUse]) -> tuple[RankUse, ...]:
    """The use of each rank, in which a collective kernel takes as long as on the rank that joined it last.

    The ranks of one pipeline stage run the same collective kernels in the same order, so that the n-th of one name and
    phase is the same on each. Ranks of two stages are not compared: equally many kernels of one name need not be the
    same ones, and the shortest of both would hide what the slower stage takes. Kernels that not all ranks of a stage
    ran equally often keep their time.

    Args:
        ranks: of one iteration, with all waiting.
    """
    stages: defaultdict[int, list[RankUse]] = defaultdict(list)
    for rank in ranks:
        stages[rank.stage].append(rank)
    shortest = {stage: _shortest(found, several=len(stages) > 1) for stage, found in stages.items()}
    return tuple(_rank(rank, shortest[rank.stage]) for rank in ranks)


def _shortest(ranks: Sequence[RankUse], *, several: bool) -> dict[_Call, tuple[float, ...]]:
    """Of each kernel that all ranks of a stage ran equally often, the shortest duration of each run.

    Args:
        ranks: of one stage.
        several: whether there are other stages. What these ranks send there, they do not send together.
    """
    if len(ranks) < 2:
        return {}
    found = [{(one.name, one.phase): one.seconds for one in rank.collectives} for rank in ranks]
    durations = {call: [rank[call] for rank in found] for call in set.intersection(*map(set, found))}
    return {
        call: tuple(map(min, zip(*each, strict=True)))
        for call, each in durations.items()
        if len(set(map(len, each))) == 1 and not (several and _BETWEEN_TWO in call[0].lower())
    }


def _rank(rank: RankUse, shortest: Mapping[_Call, Sequence[float]]) -> RankUse:
    by_name: defaultdict[str, float] = defaultdict(float)
    by_phase: defaultdict[str, float] = defaultdict(float)
    for one in rank.collectives:
        waited = sum(one.seconds) - sum(shortest.get((one.name, one.phase), one.seconds))
        by_name[one.name] += waited
        by_phase[one.phase] += waited
    waiting = sum(by_name.values())
    return replace(
        rank,
        total=rank.total - waiting,
        decode=rank.decode - by_phase["decode"],
        prefill=rank.prefill - by_phase["prefill"],
        kernels=tuple(KernelTime(one.name, one.times, one.seconds - by_name[one.name]) for one in rank.kernels),
        collectives=(),
        collective=sum(sum(one.seconds) for one in rank.collectives) - waiting,
        waiting=waiting if shortest else None,
    )
