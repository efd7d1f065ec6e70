"""The rules that are turned off are named once each, or refused with those that there are."""

import pytest

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.problems import RULES
from pytest_vllmperf.validity.allowed import rule_names


def test_names_of_rules() -> None:
    assert rule_names("here", "lost, clocks lost") == rule_names("here", ["lost", "clocks"]) == ("lost", "clocks")
    assert rule_names("here", "") == rule_names("here", ()) == ()


def test_what_is_no_rule() -> None:
    with pytest.raises(SpecError) as caught:
        rule_names("here", "lost slowness")
    assert str(caught.value) == f"here: no validity rule has the name 'slowness'; rules: {', '.join(RULES)}"
