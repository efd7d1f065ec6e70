"""Variables are stored by name, and by a keyed hash that tells one value from another and nothing else."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pytest_vllmperf.records.variables import Variables, VariablesKey

KEY, OTHER = VariablesKey(b"a" * 32), VariablesKey(b"b" * 32)


def test_names_and_hashes() -> None:
    found = Variables.of({"B": "planted", "A": "planted"}, KEY)
    assert list(found.hashes) == ["A", "B"]
    assert found.key == KEY.id
    assert found.hashes["A"] != found.hashes["B"]  # one value in two variables shows nothing
    assert "planted" not in found.model_dump_json()


def test_one_value_has_one_hash_by_one_key() -> None:
    assert KEY.hash("A", "1") == KEY.hash("A", "1")
    assert len({KEY.hash("A", "1"), KEY.hash("A", "2"), OTHER.hash("A", "1"), KEY.hash("A1", "")}) == 4
    assert KEY.id != OTHER.id
    assert KEY.hash("A", "\udc80")


def test_without_a_key_names_alone() -> None:
    assert Variables.of({"A": "planted"}, None) == Variables(hashes={"A": ""})
    assert Variables.of({}, KEY) == Variables()


def test_the_key_is_not_shown() -> None:
    assert "aaa" not in repr(KEY)


@pytest.mark.parametrize("content", [
    {"key": "x"}, {"hashes": {"A": "planted"}}, {"hashes": {"A": None}}, {"key": "01234567\n"}, {"values": {}},
])  # fmt: skip
def test_nothing_but_hashes_gets_in(content: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Variables.model_validate(content)
