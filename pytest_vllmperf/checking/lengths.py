"""Numbers of tokens that differ although the workload is the same: figures of other work. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import EngineSamples, Session
from pytest_vllmperf.report import units

_WHY: Final = {
    "prompt_tokens": "has the tokenizer or the chat template changed?",
    "output_tokens": "answers end earlier or later than they did",
}


def other_lengths(run: Measurement, baseline: Sequence[Session]) -> tuple[str, ...]:
    """Lines about iterations that have more tokens, or fewer, than all those that they are compared with.

    A workload of texts or chats does not say how many tokens its prompts have, nor does one with free answers say how
    long these are. Shorter ones can make up for a slowdown.

    Args:
        run: what was measured.
        baseline: the stored sessions; of a run in turns its reference counts instead.
    """
    if run.rates:  # their iterations are replicates of a search
        return ()
    stored = [engine for session in baseline for engine in session.engines]
    before = stored if run.reference is None else run.reference.engines
    return tuple(line for name, why in _WHY.items() for line in _told(name, why, before, run.engines))


def _told(name: str, why: str, before: Sequence[EngineSamples], now: Sequence[EngineSamples]) -> list[str]:
    then, found = ([value for engine in side for value in engine.values(name)] for side in (before, now))
    if not then or not found or (min(found) <= max(then) and max(found) >= min(then)):
        return []
    change = units.pair(name, then[-1], found[-1])
    return [f"the same workload has other {METRICS[name].label} in an iteration: {change}; {why}"]
