"""What a user gave is read, or refused in one line that says where it was given."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.parsing import choice, count, number, words

PARSERS = [count(0), count(1), number(0, exclusive=True), number(0, exclusive=False), choice("warn", "fail")]
anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=3)


@pytest.mark.parametrize("parse", PARSERS)
@given(value=anything | st.lists(anything, max_size=3))
def test_anything_is_read_or_refused_in_one_line(parse: Any, value: Any) -> None:
    try:
        parse("here", value)
        return
    except SpecError as error:
        words = str(error)
    assert words.startswith("here: ")
    assert "\n" not in words


@given(st.integers(1, 2**53), st.sampled_from([int, str]))
def test_whole_numbers(value: int, form: Any) -> None:
    assert count(1)("here", form(value)) == value


@pytest.mark.parametrize("value", [0, "0", 2.0, "2.5", True, "two", None])
def test_what_is_no_whole_number_of_at_least_one(value: Any) -> None:
    with pytest.raises(SpecError) as caught:
        count(1)("here", value)
    assert str(caught.value) == f"here: {value!r} is not a whole number of at least 1"


@pytest.mark.parametrize("value", [10**400, str(10**400), 2**53 + 1])
def test_a_count_that_no_float_holds_is_refused(value: object) -> None:
    with pytest.raises(SpecError, match=r"here: .* is too large; give at most 9007199254740992"):
        count(1)("here", value)
    assert count(1)("here", 2**53) == 2**53


def test_numbers_end_where_they_are_told_to() -> None:
    assert number(0, exclusive=False)("here", "0") == 0
    with pytest.raises(SpecError, match=r"^here: '0' is not a number above 0$"):
        number(0, exclusive=True)("here", "0")


def test_words_are_separated_by_spaces_and_commas() -> None:
    assert words("here", "a, b c", "letters") == words("here", ["a,b", "c"], "letters") == ["a", "b", "c"]
    with pytest.raises(SpecError, match=r"^here: 5 is not a list of letters$"):
        words("here", 5, "letters")
