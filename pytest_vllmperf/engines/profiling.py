"""What a child told of its GPUs while it was profiled, as records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_vllmperf.engines.child_engine import ChildEngine
from pytest_vllmperf.errors import ProfileError
from pytest_vllmperf.records.kernels import Collective, KernelTime, RankUse

_NS = 1e-9


class ProfiledEngine(ChildEngine):
    """An engine whose child records what its GPUs do: the operations that all such scripts know."""

    @property
    def unprofiled(self) -> str:
        """Why they cannot be profiled, as far as that is known without trying; empty where they may be."""
        return "the engine runs on a CPU" if self.facts.on_cpu else ""

    def profile_start(self, trace: Path | None = None) -> None:
        """Record from now on what its GPUs do.

        Args:
            trace: where the first rank keeps a Chrome trace of the first slice; None for nowhere.

        Raises:
            ProfileError: when they cannot be profiled, with the reason.
        """
        if reason := self.ask({"op": "profile_start", "trace": "" if trace is None else str(trace)}):
            raise ProfileError(reason)

    def profile_stop(self) -> tuple[RankUse, ...]:
        """Stop recording. Returns what the GPU of each rank did.

        Raises:
            ProfileError: when the recording is not whole.
        """
        return rank_uses(self.ask({"op": "profile_stop"}))


def rank_uses(told: Sequence[dict[str, Any]]) -> tuple[RankUse, ...]:
    """What each worker recorded, as records; see `vllmperf_device_pass.Tally.told`.

    Raises:
        ProfileError: when the recording of one of them is not whole.
    """
    for one in told:
        if "problem" in one:
            raise ProfileError(one["problem"])
    return tuple(_rank_use(one) for one in told)


def _rank_use(told: dict[str, Any]) -> RankUse:
    (decode_steps, decode), (prefill_steps, prefill) = told["steps"]["decode"], told["steps"]["prefill"]
    return RankUse(
        count=told["activities"],
        total=told["total_ns"] * _NS,
        busy=told["busy_ns"] * _NS,
        span=told["span_ns"] * _NS,
        kernels=tuple(KernelTime(name, count, ns * _NS) for name, count, ns in told["kernels"]),
        decode_steps=decode_steps,
        decode=decode * _NS,
        prefill_steps=prefill_steps,
        prefill=prefill * _NS,
        stage=told.get("stage", 0),
        collectives=tuple(
            Collective(name, phase, tuple(ns * _NS for ns in durations))
            for name, phases in told["collectives"].items()
            for phase, durations in phases.items()
        ),
    )
