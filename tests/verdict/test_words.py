"""Gates and margins in the words of a user."""

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.verdict.words import Margins, gate_words, limits, margin, margins, may_be_custom
from tests.records.test_custom import NAMES

fractions = st.floats(0, 1)
per_cents = st.floats(0, 1e6)
metrics = st.sampled_from(["ttft.p50", "e2e.p50", "output_throughput", "engine_steps"])


def refused(value: Any) -> str:
    """What is said of a value that is refused: one line that begins with where it was given."""
    with pytest.raises(SpecError) as caught:
        margins("here", value)
    assert str(caught.value).startswith("here")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@given(fractions)
def test_a_fraction_is_what_it_is(value: float) -> None:
    assert margin("here", value) == margin("here", repr(value)) == value
    assert margins("here", value) == margins("here", repr(value)) == Margins(value, {})


@given(per_cents, st.sampled_from(["%", " %", "  % "]))
def test_a_number_with_a_per_cent_sign_is_a_hundredth_of_it(value: float, sign: str) -> None:
    assert margin("here", f"{value!r}{sign}") == value / 100
    assert margins("here", f"{value!r}{sign}") == Margins(value / 100, {})


@given(st.floats(1, exclude_min=True, allow_infinity=False))
def test_a_plain_number_above_one_is_refused_with_what_to_write(value: float) -> None:
    for given_ in (value, repr(value)):
        words = refused(given_)
        assert words.startswith(f"here: {value:g} is {value * 100:g} %; write {value / 100:g} or ")


@given(st.floats(max_value=0, exclude_max=True) | st.sampled_from([math.nan, math.inf]))
def test_what_is_no_margin_is_refused(value: float) -> None:
    for given_ in (value, repr(value), f"{value!r}%", {"ttft.p50": value}, {"ttft.p50": f"{value!r} %"}):
        assert "is not a number of at least 0" in refused(given_)


@given(st.text(max_size=12))
def test_any_text_is_margins_or_one_line(text: str) -> None:
    try:
        general, by_metric = margins("here", text)
    except SpecError:
        refused(text)
        return
    assert all(0 <= value < math.inf for value in (*by_metric.values(), 0.0 if general is None else general))


written = fractions.map(repr) | per_cents.map(lambda value: f"{value!r}%") | per_cents.map(lambda value: f"{value!r} %")


@given(st.none() | written, st.dictionaries(metrics, written, max_size=3), st.sampled_from([" ", ", ", ","]))
def test_words_and_mappings_say_the_same(general: str | None, by_metric: dict[str, str], separator: str) -> None:
    found = Margins(
        None if general is None else margin("here", general),
        {name: margin("here", value) for name, value in by_metric.items()},
    )
    assert margins("here", by_metric).by_metric == found.by_metric
    words = separator.join([*([general] if general else []), *(f"{name}={value}" for name, value in by_metric.items())])
    if words:
        assert margins("here", words) == found


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5, 'here: 5 is 500 %; write 0.05 or "5%", or "500%" if you mean that'),
        ("7.5", 'here: 7.5 is 750 %; write 0.075 or "7.5%", or "750%" if you mean that'),
        ("e2e.p50=10", 'here of e2e.p50: 10 is 1000 %; write 0.1 or "10%", or "1000%" if you mean that'),
        ({"e2e.p50": 10}, 'here of e2e.p50: 10 is 1000 %; write 0.1 or "10%", or "1000%" if you mean that'),
        ("0,1", "here: '0,1' gives 2 margins for all metrics; give one"),
        ("%", "here: '%' is not a number of at least 0 followed by a percent sign"),
        ("", "here: gives no margin"),
        (True, "here: True is not a number of at least 0"),
        (None, "here: None is not a number of at least 0"),
        (10**400, f"here: {10**400} is not a number of at least 0"),
    ],
)
def test_what_is_said(value: Any, words: str) -> None:
    assert refused(value) == words


@pytest.mark.parametrize("value", ["speed=0.1", "clock=5%", "=5%", {"speed": 0.1}, {7: 0.1}])
def test_a_margin_of_what_is_no_metric_is_refused(value: Any) -> None:
    assert "no metric has the name" in refused(value)


def test_a_misspelt_metric_gets_the_nearest_one_and_no_list_of_all() -> None:
    assert refused("ttft.p5=10%").endswith("no metric has the name 'ttft.p5'; did you mean 'ttft.p50'?")


def test_a_gate_is_words() -> None:
    assert gate_words("here", "clock, ttft.p90 exact") == ("clock", "ttft.p90", "exact")
    assert gate_words("here", ["clock", "ttft.p90"]) == ("clock", "ttft.p90")
    for value in ("", [], "speed", 5):
        with pytest.raises(SpecError, match=r"^here: "):
            gate_words("here", value)


@given(NAMES)
def test_the_name_of_a_custom_metric_is_taken_only_where_a_test_may_have_one(name: str) -> None:
    assume(may_be_custom(name))
    assert gate_words("gate", ["clock", name], custom=True) == ("clock", name)
    assert margins("margin", {name: 0.1}, custom=True).by_metric == {name: 0.1}
    assert margins("margin", f"{name}=10%", custom=True).by_metric == {name: 0.1}
    assert limits("limits", {name: 5}, custom=True) == limits("limits", f"{name}=5", custom=True) == {name: 5.0}
    without = (
        lambda: gate_words("gate", name),
        lambda: margins("margin", {name: 0.1}),
        lambda: limits("limits", {name: 5}),
    )
    for attempt in without:
        with pytest.raises(SpecError, match="has the name"):
            attempt()


@pytest.mark.parametrize("name", ["clock", "limits", "auto", "a b", "1st", "", "ttft.p50"])
def test_words_that_no_custom_metric_can_have(name: str) -> None:
    assert not may_be_custom(name)
