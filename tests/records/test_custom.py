"""Custom metrics: their keys hold the whole declaration."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.custom import Declared, name_problem, plain_name, redeclared, unit_problem
from pytest_vllmperf.stats import Direction

relaxed = settings(max_examples=60)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}(\.[A-Za-z0-9_]{1,8}){0,2}", fullmatch=True)
UNITS = st.text(max_size=16).filter(lambda unit: not unit_problem(unit))
DECLARED = st.builds(
    Declared, name=NAMES, unit=UNITS, better=st.sampled_from(Direction), exact=st.booleans(), once=st.booleans()
)


@relaxed
@given(DECLARED)
def test_a_key_says_what_was_declared(one: Declared) -> None:
    assert Declared.parse(one.key) == one
    assert plain_name(one.key) == one.name


@relaxed
@given(DECLARED, DECLARED)
def test_two_declarations_never_share_a_key(one: Declared, other: Declared) -> None:
    assert (one.key == other.key) == (one == other)


@relaxed
@given(
    st.text() | DECLARED.map(lambda one: one.key).flatmap(lambda key: st.builds(str.__add__, st.just(key), st.text()))
)
def test_any_other_text_is_no_key_or_is_read_back_as_it_is(text: str) -> None:
    found = Declared.parse(text)
    assert found is None or found.key == text


def test_keys_can_be_read_by_a_person() -> None:
    assert Declared("acceptance", "share", Direction.HIGHER).key == "acceptance [share, higher]"
    assert Declared("builds", "", Direction.LOWER, exact=True, once=True).key == "builds [lower, exact, once]"


@pytest.mark.parametrize(
    "name", ["", "1st", "a b", "a[b]", "a..b", ".a", "a.", "a\n", "größe", "a=b", "a" * 61, None, 5]
)
def test_names_that_are_not_valid(name: object) -> None:
    assert name_problem(name)
    with pytest.raises(SpecError, match="name"):
        Declared.create(name, unit="", better="lower", exact=False, once=False)


@pytest.mark.parametrize(
    "unit", [" ", "a,b", "[ms]", "ms]", " ms", "ms ", "a\nb", "\x1b[31m", "lower", "x" * 17, None, 5]
)
def test_units_that_are_not_valid(unit: object) -> None:
    assert unit_problem(unit)
    with pytest.raises(SpecError, match="unit="):
        Declared.create("steps", unit=unit, better="lower", exact=False, once=False)


@pytest.mark.parametrize("better", ["up", "LOWER", "", None, True])
def test_directions_that_are_not_valid(better: object) -> None:
    with pytest.raises(SpecError, match="write better='lower' or better='higher'"):
        Declared.create("steps", unit="", better=better, exact=False, once=False)


def test_what_two_sides_declare_differently() -> None:
    before = ["ttft.p50", "steps [ms, lower]", "same [lower]", "gone [lower]"]
    now = ["ttft.p50", "steps [s, lower]", "same [lower]", "new [lower]"]
    assert redeclared(before, now) == ["steps: [ms, lower] -> [s, lower]"]
    assert redeclared(now, now) == []
