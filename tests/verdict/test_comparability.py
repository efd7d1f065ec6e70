"""How two environments differ where they may: names and values of variables, and what cannot be compared."""

from __future__ import annotations

import json

import pytest

from pytest_vllmperf.records.samples import EngineSamples, Environment, Session
from pytest_vllmperf.records.variables import Variables, VariablesKey
from pytest_vllmperf.verdict.comparability import (
    changes,
    environment_differences,
    hard_differences,
    mixed,
    not_compared,
    strange_machine,
)

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
    (made(KEY, A="1"), made(None, A="1"), "no key is set here"),
    (made(None, A="1"), made(None, A="1"), "no key is set here"),
])  # fmt: skip
def test_values_that_cannot_be_compared_are_named(then: Environment, now: Environment, why: str) -> None:
    assert changes(then, now) == []
    assert not_compared(then, now) == [f"env A cannot be compared: {why} (set VLLMPERF_KEY to the same secret)"]


@pytest.mark.parametrize("now", [made(KEY, A="2"), made(OTHER), made(OTHER, B="1"), made(None)])
def test_all_else_can(now: Environment) -> None:
    assert not_compared(made(KEY, A="1"), now) == []


def sessions(*hard: dict[str, str]) -> list[Session]:
    engines = [EngineSamples(discarded=0, iterations=1, samples={})]
    return [Session(recorded="", environment=Environment(hard=one, soft={}), engines=engines) for one in hard]


H100, H200 = {"gpu": "H100", "workload": "w"}, {"gpu": "H200", "workload": "w"}


def test_sessions_of_one_baseline_that_differ_are_named_with_their_values() -> None:
    assert mixed(sessions(H200, H200)) == []
    assert mixed(sessions(H100, H200, H100)) == ["its stored sessions differ in gpu (H100 / H200)"]
    assert mixed(sessions({}, H200)) == ["its stored sessions differ in gpu (none / H200), workload (none / w)"]


def test_a_baseline_that_mixes_is_comparable_with_nothing() -> None:
    now = Environment(hard=H200, soft={})
    assert hard_differences(sessions(H200, H200), now) == []
    assert hard_differences(sessions(H100), now) == ["gpu: H100 -> H200"]
    assert hard_differences(sessions(H100, H200), now) == mixed(sessions(H100, H200))


ONE, OTHER_DIGEST = "0123456789abcdef", "fedcba9876543210"


def of_model(digest: str, name: str = "mine", **files: str) -> Environment:
    told = {"model files": json.dumps({file.replace("_", "."): size for file, size in files.items()})} if files else {}
    return Environment(hard={"model": digest}, soft={"model name": name, **told})


@pytest.mark.parametrize(("then", "now", "told"), [
    (of_model(ONE, a="1", b="1"), of_model(OTHER_DIGEST, a="1", b="2", c="3"), "model files changed: b, c"),
    (of_model(ONE), of_model(OTHER_DIGEST, a="1"), "model files changed"),
    (of_model(ONE, a="1"), of_model(OTHER_DIGEST), "model files changed"),
    (of_model(ONE, a="1"), of_model(OTHER_DIGEST, a="1"), "model files changed"),
    (of_model(ONE, "llama", a="1"), of_model(OTHER_DIGEST, "qwen", a="2"), "model: llama -> qwen"),
    (of_model("org/a"), of_model("org/b"), "model: org/a -> org/b"),
    (of_model("org/a"), of_model(ONE), f"model: org/a -> {ONE}"),
])  # fmt: skip
def test_a_changed_model_is_told_by_its_files(then: Environment, now: Environment, told: str) -> None:
    assert environment_differences(then, now) == [told]


def test_what_a_file_holds_of_files_is_not_trusted() -> None:
    then, now = of_model(ONE, a="1"), of_model(OTHER_DIGEST, a="2")
    for broken in ("[1", "[1]", "null"):
        then.soft["model files"] = broken
        assert environment_differences(then, now) == ["model files changed"]


def test_files_of_a_model_are_no_soft_difference_of_their_own() -> None:
    assert changes(of_model(ONE, a="1"), of_model(OTHER_DIGEST, a="2")) == []


def on_machine(name: str | None) -> Session:
    soft = {} if name is None else {"machine": name}
    engine = EngineSamples(discarded=0, iterations=1, samples={})
    return Session(recorded="2026-01-01", environment=Environment(hard={}, soft=soft), engines=[engine])


def test_another_machine_is_said_in_words() -> None:
    one, two, none = (on_machine(name).environment for name in ("a", "b", None))
    assert changes(one, two) == ["measured on another machine (a -> b)"]
    assert changes(one, one) == changes(none, two) == changes(two, none) == []


def test_a_machine_without_a_session_of_its_own() -> None:
    now = on_machine("b").environment
    assert strange_machine([on_machine("a"), on_machine("b")], now) == []
    assert strange_machine([], now) == strange_machine([on_machine("a")], on_machine(None).environment) == []
    (told,) = strange_machine([on_machine("a"), on_machine(None)], now)
    assert told.startswith("no stored session was recorded on this machine (b): ")
