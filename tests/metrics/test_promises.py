"""Goodput, by hand; and what a promise may be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.metrics.promises import goodput, keeps, missed, promise, tpot_of
from pytest_vllmperf.records.run import RequestRecord, RunResult
from pytest_vllmperf.records.served import Slo

# TTFT 0.2 s, TPOT 0.02 s, E2E 1.2 s.
SOUND = RequestRecord(0, 10, 51, 0, "length", 100.0, None, 100.2, 101.2)


def iteration(*requests: RequestRecord) -> RunResult:
    return RunResult(requests, (), None, None, None, None, None, 1.0)


def other(**changed: Any) -> RequestRecord:
    return replace(SOUND, **changed)


FAILED = other(finish_reason=None)


@pytest.mark.parametrize(
    ("slo", "kept"),
    [
        (Slo(ttft=0.21), True),
        (Slo(ttft=0.19), False),
        (Slo(tpot=0.021), True),
        (Slo(tpot=0.019), False),
        (Slo(e2e=1.21), True),
        (Slo(e2e=1.19), False),
        (Slo(ttft=0.21, tpot=0.019), False),
    ],
)
def test_each_part_of_a_promise_counts(slo: Slo, kept: bool) -> None:
    assert keeps(SOUND, slo) is kept


def test_a_request_of_one_token_has_no_tpot_to_keep() -> None:
    one = other(output_tokens=1, last_token_ts=100.2)
    assert tpot_of(one) is None
    assert keeps(one, Slo(tpot=1e-9))


def test_a_failed_request_keeps_nothing_and_counts() -> None:
    assert not keeps(FAILED, Slo(e2e=1e9))
    assert goodput(iteration(SOUND, SOUND, SOUND, FAILED), Slo(ttft=1.0)) == 0.75
    assert goodput(iteration(), Slo(ttft=1.0)) is None


def test_what_is_missed_is_named_with_counts() -> None:
    late = other(first_token_ts=100.9)
    text = missed([iteration(SOUND, late), iteration(SOUND, FAILED)], Slo(ttft=0.3, tpot=0.03), 0.99)
    assert text.startswith("goodput 50 % (2 of 4 requests met the SLO), required 99 %; ")
    assert "ttft above 300 ms: 1" in text
    assert "tpot above 30 ms: 0" in text
    assert text.endswith("failed: 1")
    assert missed([iteration(SOUND, late)], Slo(ttft=0.3), 0.5) == ""


@pytest.mark.parametrize(
    ("parts", "share", "words"),
    [
        ((None, None, None), 0.99, "at least one of ttft="),
        ((0, None, None), 0.99, "ttft=0 must be seconds above zero"),
        ((None, "fast", None), 0.99, "tpot='fast'"),
        ((None, None, float("nan")), 0.99, "e2e=nan"),
        ((0.3, None, None), 99, "goodput=99 must be above 0 and at most 1"),
        ((0.3, None, None), 0, "goodput=0"),
    ],
)
def test_what_is_no_promise_is_refused(parts: tuple[Any, Any, Any], share: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        promise(*parts, share)


def test_an_answer_that_comes_whole_has_no_tpot_to_promise() -> None:
    with pytest.raises(SpecError, match="tpot= needs streamed answers"):
        promise(None, 0.02, None, 0.99, streamed=False)
    assert promise(0.3, None, None, 0.99, streamed=False) == Slo(ttft=0.3)
