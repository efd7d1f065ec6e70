"""What speculative decoding proposed, as metrics; and that these decide wherever they were measured."""

from __future__ import annotations

import pytest

from pytest_vllmperf.metrics.reduce import iteration_metrics
from pytest_vllmperf.metrics.table import resolve_gate
from pytest_vllmperf.records.run import RunResult
from pytest_vllmperf.records.scheduling import Drafting, Occupation

NAMES = {"spec.acceptance", "spec.length"}


def shown(drafting: Drafting | None = None, occupation: Occupation | None = None) -> dict[str, float]:
    return iteration_metrics(
        RunResult((), (), 3, 0, 0, 1.0, None, 1.0, drafting=drafting, occupation=occupation)
    )  # fmt: skip


def test_acceptance_is_of_tokens_and_length_counts_the_models_own() -> None:
    found = shown(Drafting(drafts=10, proposed=40, accepted=25))
    assert {name: found[name] for name in NAMES} == {"spec.acceptance": 0.625, "spec.length": 3.5}


def test_where_nothing_was_accepted_both_are_values() -> None:
    """Else an engine that accepts nothing any more would lose its metrics, and the gate with them."""
    found = shown(Drafting(drafts=10, proposed=40, accepted=0))
    assert {name: found[name] for name in NAMES} == {"spec.acceptance": 0.0, "spec.length": 1.0}


@pytest.mark.parametrize("drafting", [None, Drafting(drafts=0, proposed=0, accepted=0)])
def test_without_a_draft_there_is_neither(drafting: Drafting | None) -> None:
    assert not NAMES & set(shown(drafting))


def test_a_server_that_does_not_count_drafts_has_acceptance_alone() -> None:
    assert NAMES & set(shown(Drafting(drafts=None, proposed=40, accepted=10))) == {"spec.acceptance"}


@pytest.mark.parametrize("word", ["exact", "clock"])
def test_they_are_gated_only_where_they_were_measured(word: str) -> None:
    assert not NAMES & set(resolve_gate((word,), "cpu"))
    assert set(resolve_gate((word,), "cpu", NAMES)) >= NAMES


def test_how_full_an_engine_in_process_was() -> None:
    found = shown(occupation=Occupation(running=8, waiting=3, kv_usage=0.5))
    assert {name: found[name] for name in ("running_max", "waiting_max", "kv_usage_max")} == {
        "running_max": 8, "waiting_max": 3, "kv_usage_max": 0.5,
    }  # fmt: skip


def test_what_an_engine_does_not_tell_is_missing() -> None:
    assert not {"running_max", "waiting_max", "kv_usage_max"} & set(shown(occupation=Occupation()))
