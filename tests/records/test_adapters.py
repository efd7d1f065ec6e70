"""`lora_modules`, in all the forms that it may have."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.adapters import adapters, base_names


@pytest.mark.parametrize(
    "given",
    [
        {"a": "/x", "b": "org/y=z"},
        [{"name": "a", "path": "/x"}, {"name": "b", "path": "org/y=z", "base_model_name": "m"}],
        ["a=/x", "b=org/y=z"],
        ['{"name": "a", "path": "/x"}', "b=org/y=z"],
    ],
)
def test_all_forms_name_the_same_adapters(given: Any) -> None:
    assert list(adapters({"lora_modules": given}).items()) == [("a", "/x"), ("b", "org/y=z")]


def test_without_the_argument_there_are_none() -> None:
    assert adapters({}) == adapters({"lora_modules": None}) == {}


@pytest.mark.parametrize(
    "given", ["a=/x", 3, [3], ["{"], ["{}"], {"": "/x"}, {"a": ""}, {"a": 3}, ["=x"], ["a="], ["a=1", "a=2"]]
)
def test_what_names_no_adapter_is_refused(given: Any) -> None:
    with pytest.raises(SpecError, match="lora_modules"):
        adapters({"lora_modules": given})


def test_names_of_the_model_itself() -> None:
    assert base_names("org/m", {}) == ("org/m",)
    assert base_names("org/m", {"served_model_name": "m"}) == ("m", "org/m")
    assert base_names("org/m", {"served_model_name": ["m", "n"]}) == ("m", "n", "org/m")
