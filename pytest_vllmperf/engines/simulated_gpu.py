"""The scripted GPU of a simulated engine: kernels by its script, with noise of their own."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_vllmperf.records.kernels import KernelTime, RankUse

_LEAST = 0.1
"""The least factor that noise makes of a time."""


class SimulatedGpu:
    """A GPU that takes as long for its kernels as its script says.

    Args:
        kernels: name -> how often it runs in an iteration, and seconds that this takes.
        factor: of this start of the engine, on the time of every kernel.
        noise: relative standard deviation of the time of all kernels, between starts and again between iterations.
        seed: of the noise; another one for each start.
    """

    def __init__(self, kernels: Mapping[str, Sequence[float]], factor: float, noise: float, seed: int) -> None:
        self._kernels = kernels
        self._noise = noise
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._factor = factor * self._disturbed()

    def iteration(self, seconds: float, decode_steps: int, prefill_steps: int) -> RankUse:
        """What it did in one iteration; each step launches the same share of the kernels.

        Args:
            seconds: how long the iteration took by the engine's clock.
            decode_steps: of it.
            prefill_steps: of it.
        """
        factor = self._factor * self._disturbed()
        kernels = tuple(KernelTime(name, times, took * factor) for name, (times, took) in self._kernels.items())
        total = sum(one.seconds for one in kernels)
        step = total / max(1, decode_steps + prefill_steps)
        return RankUse(
            count=round(sum(one.times for one in kernels)),
            total=total,
            busy=total,
            span=max(seconds, total),
            kernels=kernels,
            decode_steps=decode_steps,
            decode=step * decode_steps,
            prefill_steps=prefill_steps,
            prefill=step * prefill_steps,
        )

    def _disturbed(self) -> float:
        return max(_LEAST, self._random.gauss(1.0, self._noise))


def write_trace(use: RankUse, path: Path) -> None:
    """Write what was done as a Chrome trace, one event for each name.

    Raises:
        OSError: when it cannot be written.
    """
    begins = 0.0
    events = []
    for kernel in use.kernels:
        took = kernel.seconds * 1e6
        events.append({"ph": "X", "cat": "kernel", "name": kernel.name, "pid": 0, "tid": 0, "ts": begins, "dur": took})
        begins += took
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump({"traceEvents": events}, file)
