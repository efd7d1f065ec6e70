"""What the whole machine did while an engine worked, and that in coarse words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

_IN_USE, _BUSY = 0.25, 0.75
_SOME, _MUCH = 0.01, 0.10
_STEP: Final = 1e8


@dataclass(frozen=True)
class HostUse:
    """What the machine's CPUs did in one iteration, whoever used them.

    Attributes:
        load: the share of their time that anyone used, the engine included.
        steal: the share of their time that a hypervisor gave to other machines.
        frequency_hz: of the fastest CPU, at the end; None where the kernel does not tell it.
    """

    load: float
    steal: float
    frequency_hz: float | None = None


def host_words(uses: Sequence[HostUse | None]) -> dict[str, str]:
    """The machine in words that stay the same from run to run: for an environment, of which differences are told.

    `host load`: "idle" below 25 % of the CPUs' time, "busy" from 75 % on, "in use" between. `host steal`: "none" below
    1 %, "much" from 10 % on, "some" between. Both by the mean of all iterations. `host CPU frequency`: the median, to
    0.1 GHz. It is that of the fastest CPU, as idle ones clock down by chance.

    Args:
        uses: of the measured iterations; None where nothing was read.

    Returns:
        Name -> words; without what nobody knows.
    """
    known = [use for use in uses if use is not None]
    if not known:
        return {}
    load, steal = fmean(use.load for use in known), fmean(use.steal for use in known)
    found = {"host load": _word(load, _IN_USE, _BUSY, ("idle", "in use", "busy"))}
    found["host steal"] = _word(steal, _SOME, _MUCH, ("none", "some", "much"))
    if clocks := [use.frequency_hz for use in known if use.frequency_hz is not None]:
        found["host CPU frequency"] = f"{round(median(clocks) / _STEP) * _STEP / 1e9:.1f} GHz"
    return found


def _word(share: float, some: float, much: float, words: tuple[str, str, str]) -> str:
    return words[(share >= some) + (share >= much)]
