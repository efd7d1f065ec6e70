"""The table of backends: what a spec is checked against, and what its rows declare."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_vllmperf.engines.backends import BACKENDS, Backends, Clock
from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.engine import Timeouts
from pytest_vllmperf.records.spec import DEFAULT_BACKEND, EngineSpec


def test_the_default_is_in_the_table() -> None:
    assert BACKENDS.of(EngineSpec.create("m")).name == DEFAULT_BACKEND


def test_names_are_unique() -> None:
    names = [row.name for row in BACKENDS.rows]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["fast", "", "Offline", None, 7, ["offline"]])
def test_a_backend_that_does_not_exist_is_refused_with_those_that_do(name: Any) -> None:
    spec = EngineSpec.create("m", backend=name)
    line = f"backend={name!r} does not exist; choose one of offline, transformers, serve, endpoint, simulated"
    for read in (BACKENDS.of, BACKENDS.checked):
        with pytest.raises(SpecError) as caught:
            read(spec)
        assert str(caught.value) == line


def test_the_launcher_refuses_it_too() -> None:
    with pytest.raises(SpecError, match=r"^backend='fast' does not exist"):
        Launcher(Timeouts()).start(EngineSpec.create("m", backend="fast"), {}, lambda doing, waited: None)


@pytest.mark.parametrize(("backend", "refused"), [("offline", True), ("transformers", False), ("simulated", False)])
def test_arguments_that_would_take_the_timestamps_away_are_refused_of_vllm(backend: str, refused: bool) -> None:
    spec = EngineSpec.create("m", backend=backend, disable_log_stats=True)
    if refused:
        with pytest.raises(
            SpecError, match=r"^disable_log_stats=True removes the timestamps .*; leave the argument out$"
        ):
            BACKENDS.checked(spec)
    else:
        assert BACKENDS.checked(spec) is spec
    assert BACKENDS.checked(EngineSpec.create("m", backend=backend, disable_log_stats=False))


def test_a_table_of_ones_own_has_its_rows_alone() -> None:
    row = replace(BACKENDS.rows[0], name="serve", clock=Clock.CLIENT)
    table = Backends((row,))
    assert table.of(EngineSpec.create("m", backend="serve")) is row
    with pytest.raises(SpecError, match=r"^backend='offline' does not exist; choose one of serve$"):
        table.of(EngineSpec.create("m"))


def test_what_is_known_of_hardware_and_boundary() -> None:
    known = {row.name: (row.on_hardware, row.over_http) for row in BACKENDS.rows}
    assert known == {
        "offline": (True, False),
        "transformers": (True, False),
        "serve": (True, True),
        "endpoint": (False, True),
        "simulated": (False, False),
    }
