"""The machine in words."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_vllmperf.records.host import HostUse, host_words


def uses(*loads: float, steal: float = 0.0, clocks: Sequence[float | None] = ()) -> list[HostUse]:
    told = [*clocks, *[None] * (len(loads) - len(clocks))]
    return [HostUse(load, steal, clock) for load, clock in zip(loads, told, strict=True)]


@pytest.mark.parametrize(
    ("load", "word"), [(0.0, "idle"), (0.24, "idle"), (0.25, "in use"), (0.74, "in use"), (0.75, "busy"), (1.0, "busy")]
)
def test_load(load: float, word: str) -> None:
    assert host_words(uses(load)) == {"host load": word, "host steal": "none"}


@pytest.mark.parametrize(
    ("steal", "word"), [(0.0, "none"), (0.009, "none"), (0.01, "some"), (0.09, "some"), (0.1, "much"), (0.5, "much")]
)
def test_steal(steal: float, word: str) -> None:
    assert host_words(uses(0.5, steal=steal))["host steal"] == word


def test_all_iterations_count_together() -> None:
    assert host_words(uses(0.1, 0.1, 0.9))["host load"] == "in use"
    assert host_words([None, *uses(0.9), None])["host load"] == "busy"


def test_the_frequency_is_rounded_so_that_it_does_not_differ_by_chance() -> None:
    told = [
        host_words(uses(0.1, 0.1, 0.1, clocks=clocks)) for clocks in ((3.69e9, 3.71e9, 1.2e9), (3.66e9, 3.74e9, 3.7e9))
    ]
    assert told[0] == told[1]
    assert told[0]["host CPU frequency"] == "3.7 GHz"
    assert "host CPU frequency" not in host_words(uses(0.1))


def test_where_nothing_was_read_nothing_is_said() -> None:
    assert host_words([]) == host_words([None, None]) == {}
