"""What children tell of their GPUs, as records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.engines import offline, reference, serve
from pytest_vllmperf.engines.profiling import ProfiledEngine, rank_uses
from pytest_vllmperf.errors import ProfileError
from pytest_vllmperf.records.kernels import Collective, KernelTime, RankUse

TOLD = {
    "activities": 3,
    "total_ns": 2_000_000_000,
    "busy_ns": 1_500_000_000,
    "span_ns": 3_000_000_000,
    "kernels": [["gemm", 2, 500_000_000], ["copy", 1, 1_500_000_000]],
    "steps": {"decode": [7, 250_000_000], "prefill": [1, 125_000_000]},
    "stage": 1,
    "collectives": {"all_reduce": {"decode": [500_000_000, 250_000_000], "": [125_000_000]}},
}
USE = RankUse(
    3, 2.0, 1.5, 3.0, (KernelTime("gemm", 2, 0.5), KernelTime("copy", 1, 1.5)), 7, 0.25, 1, 0.125,
    1, (Collective("all_reduce", "decode", (0.5, 0.25)), Collective("all_reduce", "", (0.125,))),
)  # fmt: skip


def asked(answer: Any) -> tuple[Any, list[dict[str, Any]]]:
    """An engine that answers so, and what it was asked."""
    messages: list[dict[str, Any]] = []

    def ask(self: Any, message: dict[str, Any]) -> Any:
        messages.append(message)
        return answer

    return type("Asked", (offline.OfflineEngine,), {"ask": ask, "__init__": lambda _: None})(), messages


def test_nanoseconds_become_seconds_and_ranks_stay_apart() -> None:
    assert rank_uses([TOLD, {**TOLD, "activities": 4}]) == (USE, RankUse(**{**vars(USE), "count": 4}))


def test_a_rank_that_is_not_whole_spoils_the_pass() -> None:
    with pytest.raises(ProfileError, match=r"^its buffers were full$"):
        rank_uses([TOLD, {"problem": "its buffers were full"}])


@pytest.mark.parametrize(("trace", "told"), [(None, ""), (Path("/t.json.gz"), "/t.json.gz")])
def test_a_child_is_told_where_a_trace_is_kept(trace: Path | None, told: str) -> None:
    engine, messages = asked("")
    engine.profile_start(trace)
    assert messages == [{"op": "profile_start", "trace": told}]


def test_why_a_child_cannot_be_profiled_is_an_error() -> None:
    engine, _ = asked("the engine runs on a CPU")
    with pytest.raises(ProfileError, match=r"^the engine runs on a CPU$"):
        engine.profile_start()


def test_what_a_child_recorded_is_told() -> None:
    engine, messages = asked([TOLD])
    assert engine.profile_stop() == (USE,)
    assert messages == [{"op": "profile_stop"}]


@pytest.mark.parametrize("program", [offline.PROGRAM, serve.PROGRAM, reference.PROGRAM])
def test_all_children_can_be_profiled(program: Any) -> None:
    assert issubclass(program.engine, ProfiledEngine)
