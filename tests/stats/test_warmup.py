"""Warm-up by rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.stats import warmup_length


@pytest.mark.parametrize(
    ("iterations", "discarded"),
    [
        ([], None),
        ([1.0] * 4, None),
        ([1.0] * 5, 2),
        ([9.0, 5.0, 1.0, 1.01, 1.02], 2),
        ([1.0, 1.0, 1.0, 1.0, 1.03], None),
        ([1.0, 1.0, 1.0, 1.0, 1.03, 1.03, 1.03], 4),
        ([1.0, 1.1] * 5, 8),
        ([1.0, 1.1] * 4 + [1.0], None),
        ([2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.0, 1.0, 1.0], 7),
    ],
)
def test_warmup(iterations: list[float], discarded: int | None) -> None:
    assert warmup_length(iterations) == discarded


@given(st.lists(st.floats(0.5, 2.0), max_size=20))
def test_warmup_once_told_stays_told(iterations: list[float]) -> None:
    told = [warmup_length(iterations[:count]) for count in range(len(iterations) + 1)]
    known = [length for length in told if length is not None]
    assert told == [None] * (len(told) - len(known)) + known
    assert len(set(known)) <= 1
    assert all(2 <= length <= 8 for length in known)
