"""What vLLM tells of each engine step, added up over an iteration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class StepCounter:
    """A stat logger that adds up what vLLM tells of each engine step; see `vllm.v1.metrics.loggers`."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start at zero: vLLM's own counters have no reset."""
        self.engine_steps = 0
        self.preemptions = 0
        self.itl_ns: list[int] = []
        self.most: dict[str, float] = {}
        self.drafting: dict[str, int] = {}

    def record(self, scheduler_stats: Any, iteration_stats: Any, **_: Any) -> None:
        """Called by vLLM once a step, with the step's own numbers."""
        if iteration_stats is not None:
            self.engine_steps += 1
            self.preemptions += iteration_stats.num_preempted_reqs
            self.itl_ns += [round(gap * 1e9) for gap in iteration_stats.inter_token_latencies_iter]
        if scheduler_stats is not None:
            self._occupied(scheduler_stats)
            self._drafted(getattr(scheduler_stats, "spec_decoding_stats", None))

    def _occupied(self, stats: Any) -> None:
        """Keep the most of what the scheduler told; a version that does not tell a figure leaves it out."""
        named = {"running": "num_running_reqs", "waiting": "num_waiting_reqs", "kv_usage": "kv_cache_usage"}
        for name, attribute in named.items():
            value = getattr(stats, attribute, None)
            if value is not None:
                self.most[name] = max(self.most.get(name, 0), value)

    def _drafted(self, stats: Any) -> None:
        """Add what speculative decoding did in a step; None where nothing was proposed in it."""
        if stats is None:
            return
        named = {"drafts": "num_drafts", "proposed": "num_draft_tokens", "accepted": "num_accepted_tokens"}
        for name, attribute in named.items():
            self.drafting[name] = self.drafting.get(name, 0) + getattr(stats, attribute)

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Every other call of vLLM's (log, sleep state and so on) is of no interest."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_, **__: None
