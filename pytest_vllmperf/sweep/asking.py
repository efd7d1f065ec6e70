"""Which engine is tried next: all of a small grid, else what Optuna's TPE proposes. The same seed asks the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any, Final

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.sweep import Values
from pytest_vllmperf.sweep.space import Axis, Point

Score = float | None
"""What an engine came to, the more the better; None for one that failed at all loads."""
_AGAIN: Final = 20
"""So often in a row TPE may propose what is known already; then any engine that is not is taken."""
_SEEDS: Final = 2**32
"""numpy takes no larger seed."""
_FEWEST_RANDOM: Final = 4
_RANDOM_SHARE: Final = 0.3
"""Of all trials, those before TPE has enough to go by. Figures: tests/sweep/test_tuner.py."""


def search(axes: Sequence[Axis], trials: int, seed: int, tried: Callable[[Values], Score]) -> None:
    """Try engines.

    Args:
        axes: engine arguments.
        trials: engines at most, all different.
        seed: of the search.
        tried: measures one, or knows what it came to.

    Raises:
        SpecError: where Optuna is missing, for a grid that is larger than the trials.
    """
    if not larger(axes, trials):
        for values in _all(axes):
            tried(values)
        return
    proposals = _Proposals(axes, trials, seed)
    for _ in range(trials):
        proposals.tell(tried(proposals.next()))


def larger(axes: Sequence[Axis], trials: int) -> bool:
    """Whether the grid has more engines than there are trials."""
    return prod(len(axis.values) for axis in axes) > trials


def optuna() -> Any:
    """The library.

    Raises:
        SpecError: where it is missing.
    """
    try:
        import optuna as found
    except ImportError as error:
        raise SpecError(
            f"{error.name} is needed to search a grid with more engines than trials: "
            'pip install "pytest-vllmperf[tune]", or name fewer values with --axis, or more --trials'
        ) from None
    return found


def _all(axes: Sequence[Axis]) -> Iterator[Values]:
    for values in product(*(axis.values for axis in axes)):
        yield dict(zip((axis.name for axis in axes), values, strict=True))


class _Proposals:
    """TPE (Bergstra et al., NeurIPS 2011) over places in the grid; numbers in their order, all else as categories."""

    def __init__(self, axes: Sequence[Axis], trials: int, seed: int) -> None:
        self._optuna = optuna()
        self._axes = [_ordered(axis) for axis in axes]
        self._known: set[Point] = set()
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        verbosity = self._optuna.logging.get_verbosity()
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        try:
            startup = max(_FEWEST_RANDOM, round(_RANDOM_SHARE * trials))
            sampler = self._optuna.samplers.TPESampler(seed=seed % _SEEDS, n_startup_trials=startup)
            self._study = self._optuna.create_study(direction="maximize", sampler=sampler)
        finally:
            self._optuna.logging.set_verbosity(verbosity)
        self._trial: Any = None

    def next(self) -> Values:
        """An engine that was not proposed before; there has to be one."""
        for _ in range(_AGAIN):
            values = self._asked()
            if Point.of(values) not in self._known:
                break
            # A known engine tells nothing new, and would weigh twice.
            self._study.tell(self._trial, state=self._optuna.trial.TrialState.FAIL)
        else:
            left = [one for one in _all(self._axes) if Point.of(one) not in self._known]
            chosen = self._random.choice(left)
            places = {axis.name: list(axis.values).index(chosen[axis.name]) for axis in self._axes}
            self._study.enqueue_trial(places)
            values = self._asked()
        self._known.add(Point.of(values))
        return values

    def tell(self, score: Score) -> None:
        """What the last proposal came to; one that failed is worse than all that did not."""
        if score is None:
            self._study.tell(self._trial, state=self._optuna.trial.TrialState.PRUNED)
        else:
            self._study.tell(self._trial, score)

    def _asked(self) -> Values:
        self._trial = self._study.ask()
        return {axis.name: axis.values[self._place(axis)] for axis in self._axes}

    def _place(self, axis: Axis) -> int:
        last = len(axis.values) - 1
        if _numbers(axis):
            return int(self._trial.suggest_int(axis.name, 0, last))
        return int(self._trial.suggest_categorical(axis.name, range(last + 1)))


def _ordered(axis: Axis) -> Axis:
    return Axis(axis.name, tuple(sorted(axis.values))) if _numbers(axis) else axis


def _numbers(axis: Axis) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in axis.values)
