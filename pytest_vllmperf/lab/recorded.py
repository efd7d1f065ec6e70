"""A measurement with what its test recorded of it as metrics, also of the engines that are measured later."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, TypeAlias

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.validation import LARGEST, SMALLEST
from pytest_vllmperf.records.custom import Declared
from pytest_vllmperf.records.samples import EngineSamples

Value: TypeAlias = float | Sequence[float]
Function: TypeAlias = Callable[[Measurement], Value]
"""Takes a measurement of one engine start."""

_MOST_VALUES = 10_000
_LONGEST = 60


@dataclass(frozen=True)
class Recording:
    """What a test recorded of a measurement.

    Attributes:
        metric: the custom metric.
        function: computes it for each engine start; None where the test gave the values.
        values: that the test gave; they belong to the run, and stand at its first engine start.
    """

    metric: Declared
    function: Function | None = field(default=None, compare=False)
    values: tuple[float, ...] = ()

    def of(self, run: Measurement) -> list[float]:
        """The values of one engine start.

        Args:
            run: a measurement of that engine start alone.

        Raises:
            SpecError: for a value that is not valid.
        """
        return list(self.values) if self.function is None else checked(self.metric, self.function(run))

    def again(self, run: Measurement) -> list[float]:
        """The values of an engine start that the test does not wait for, so that an error cannot be its own.

        Raises:
            SpecError: naming the metric, for whatever its function raised, and for a value that is not valid.
        """
        try:
            return self.of(run)
        except SpecError:
            raise
        except Exception as error:
            told = " ".join(f"{type(error).__name__}: {error}".split())
            raise SpecError(
                f"record({self.metric.name!r}): its function failed on a later engine start: {told}"
            ) from error


def checked(metric: Declared, given: object) -> list[float]:
    """The values of a metric as floats.

    Args:
        metric: whose values.
        given: a number, or several.

    Raises:
        SpecError: for what is not a number, not finite, or has no ratio to another one.
    """
    where = f"record({metric.name!r})"
    values = _listed(given)
    if not values:
        raise SpecError(f"{where}: no values; give a number, a list of numbers or a function")
    if len(values) > _MOST_VALUES:
        raise SpecError(f"{where}: {len(values):,} values, and at most {_MOST_VALUES:,} are stored; summarize them")
    numbers = [_rounded(_number(where, value)) for value in values]
    for number in numbers:
        if problem := _problem(number, exact=metric.exact):
            raise SpecError(f"{where}: {number!r} {problem}")
    return numbers


def _listed(given: Any) -> list[object]:
    """A list, a tuple or an array of one dimension as a list; anything else, a text too, as the only value."""
    several = isinstance(given, (list, tuple)) or getattr(given, "ndim", 0) == 1
    return list(given) if several else [given]


def _number(where: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise SpecError(f"{where}: {_shown(value)} is not a number; give a number, a list of numbers or a function")
    try:
        return float(value)
    except OverflowError:
        raise SpecError(f"{where}: {_shown(value)} is too large") from None


def _problem(number: float, *, exact: bool) -> str:
    if not math.isfinite(number):
        return "is not a finite number"
    if number < 0:
        return "is negative; a metric is judged by its ratio to the baseline, so record a value that is never below 0"
    if number == 0 and not exact:
        return (
            "has no ratio to a baseline. If noise does not move the metric, declare it with exact=True, which compares "
            "values as they are; else record a value that is above 0"
        )
    if number and not SMALLEST <= number <= LARGEST:
        return f"is out of range; values must be between {SMALLEST:g} and {LARGEST:g}"
    return ""


def _rounded(number: float) -> float:
    """Seven significant digits, as of any other metric; whole numbers keep all of theirs."""
    return number if not math.isfinite(number) or number.is_integer() else float(f"{number:.7g}")


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def evaluated(run: Measurement, recording: Recording) -> Measurement:
    """A measurement that a test has made, with one recording: an error of the test's own function is the test's.

    Raises:
        SpecError: for a value that is not valid.
    """
    return _with(run, recording, recording.of)


def recorded(run: Measurement, recordings: Sequence[Recording]) -> Measurement:
    """A measurement of a later engine start, with what the functions of a test compute for it.

    Args:
        run: made as its `Take` says.
        recordings: those of the take.

    Raises:
        SpecError: where a function failed, or its value is not valid.
    """
    for recording in recordings:
        run = _with(run, recording, recording.again)
    return run


def _with(run: Measurement, recording: Recording, values: Callable[[Measurement], list[float]]) -> Measurement:
    if run.problems:  # nothing of it is judged, and a function may find nothing in it; the name is known all the same
        return replace(run, engines=(_adding(run.engines[0], recording.metric.key, []), *run.engines[1:]))
    made = run.made_with
    if recording.function is None:
        engines = (_adding(run.engines[0], recording.metric.key, list(recording.values)), *run.engines[1:])
        return replace(run, engines=engines)
    if isinstance(made, Take) and recording not in made.recordings:
        made = replace(made, recordings=(*made.recordings, recording))
    engines = _computed(run, recording.metric.key, values)
    if run.reference is None:
        return replace(run, engines=engines, made_with=made)
    other: dict[str, Any] = {"engines": run.reference.engines, "iterations": run.reference_iterations, "rates": ()}
    of_reference = _computed(replace(run, **other), recording.metric.key, values)
    return replace(run, engines=engines, made_with=made, reference=replace(run.reference, engines=of_reference))


def _computed(run: Measurement, key: str, values: Callable[[Measurement], list[float]]) -> tuple[EngineSamples, ...]:
    """Every engine start with what a function says of it."""
    return tuple(_adding(engine, key, values(_alone(run, engine, number))) for number, engine in enumerate(run.engines))


def _alone(run: Measurement, engine: EngineSamples, number: int) -> Measurement:
    """One engine start of a measurement, with all that belongs to it."""
    own = slice(number, number + 1)
    return replace(
        run,
        engines=(engine,),
        iterations=run.iterations[own],
        rates=run.rates[own],
        made_with=None,
        reference=None,
        reference_iterations=(),
    )


def _adding(engine: EngineSamples, key: str, values: list[float]) -> EngineSamples:
    return engine.model_copy(update={"recorded": {**engine.recorded, key: values}})
