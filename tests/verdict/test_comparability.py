"""How two environments differ where they may: names and values of variables, and what cannot be compared."""

from __future__ import annotations

import pytest

from pytest_vllmperf.records.samples import Environment
from pytest_vllmperf.records.variables import Variables, VariablesKey
from pytest_vllmperf.verdict.comparability import changes, not_compared

KEY, OTHER = VariablesKey(b"a" * 32), VariablesKey(b"b" * 32)


def made(key: VariablesKey | None, **env: str) -> Environment:
    return Environment(hard={}, soft={"driver": "1"}, variables=Variables.of(env, key))


@pytest.mark.parametrize(("then", "now", "told"), [
    (made(KEY, A="1"), made(KEY, A="1"), []),
    (made(KEY, A="1"), made(KEY, A="2"), ["env A changed"]),
    (made(KEY, A="1"), made(KEY, B="1"), ["env A removed", "env B added"]),
    (made(KEY, A="1"), made(OTHER, A="2"), []),
    (made(None, A="1"), made(OTHER, A="2", B="3"), ["env B added"]),
    (made(KEY), made(KEY), []),
])  # fmt: skip
def test_changes(then: Environment, now: Environment, told: list[str]) -> None:
    assert changes(then, now) == told


def test_soft_keys_come_first() -> None:
    now = made(KEY, A="1").model_copy(update={"soft": {"driver": "2"}})
    assert changes(made(KEY), now) == ["driver: 1 -> 2", "env A added"]


@pytest.mark.parametrize(("then", "now", "why"), [
    (made(KEY, A="1"), made(OTHER, A="1"), "recorded with another key"),
    (made(None, A="1"), made(KEY, A="1"), "recorded without a key"),
    (made(KEY, A="1"), made(None, A="1"), "there is no key here"),
    (made(None, A="1"), made(None, A="1"), "there is no key here"),
])  # fmt: skip
def test_values_that_cannot_be_compared_are_named(then: Environment, now: Environment, why: str) -> None:
    assert changes(then, now) == []
    assert not_compared(then, now) == [f"env A cannot be compared: {why} (set VLLMPERF_KEY to the same secret)"]


@pytest.mark.parametrize("now", [made(KEY, A="2"), made(OTHER), made(OTHER, B="1"), made(None)])
def test_all_else_can(now: Environment) -> None:
    assert not_compared(made(KEY, A="1"), now) == []
