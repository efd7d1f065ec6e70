"""Which engines are tried."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.sweep import Values
from pytest_vllmperf.sweep import asking
from pytest_vllmperf.sweep.space import Axis, Point

AXES = (Axis("a", (4, 1, 2, 3, 5)), Axis("b", ("x", "(default)", True)))


def asked(trials: int, seed: int = 0, axes: tuple[Axis, ...] = AXES) -> list[Values]:
    found: list[Values] = []

    def tried(values: Values) -> float | None:
        found.append(values)
        return None if values["b"] == "x" else float(values["a"])

    asking.search(axes, trials, seed, tried)
    return found


def test_a_grid_that_is_not_larger_than_the_trials_is_tried_whole_without_optuna(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    found = asked(15)
    assert len(found) == len({Point.of(one) for one in found}) == 15


needs_optuna = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="needs the extra tune")


@needs_optuna
def test_trials_are_different_engines() -> None:
    for seed in range(5):
        found = asked(14, seed)
        assert len(found) == len({Point.of(one) for one in found}) == 14


@needs_optuna
def test_the_same_seed_asks_the_same_and_another_something_else() -> None:
    assert asked(8, 3) == asked(8, 3)
    assert asked(8, 3) != asked(8, 4)


@needs_optuna
def test_values_are_those_of_the_axes() -> None:
    for one in asked(10):
        assert one["a"] in AXES[0].values
        assert one["b"] in AXES[1].values


def test_optunas_log_is_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    optuna = pytest.importorskip("optuna")
    before = optuna.logging.get_verbosity()
    asked(8)
    assert optuna.logging.get_verbosity() == before
    assert capsys.readouterr().err == ""


def test_without_optuna_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SpecError, match=r'optuna is needed .*: pip install "pytest-vllmperf\[tune\]"'):
        asked(14)
