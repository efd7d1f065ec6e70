"""What decides, in the words of a user: the metrics of a gate, and margins. For options, calls and commands alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.metrics.table import METRICS, resolve_gate
from pytest_vllmperf.records.parsing import number, words

_FRACTION = number(0, exclusive=False)


class Margins(NamedTuple):
    """Tolerated relative changes.

    Attributes:
        general: for all metrics; None where none was given.
        by_metric: for single metrics.
    """

    general: float | None
    by_metric: Mapping[str, float]


def gate_words(where: str, value: Any) -> tuple[str, ...]:
    """The words of a gate.

    Raises:
        SpecError: naming `where` and the word that names no metric and no set.
    """
    found = tuple(words(where, value, "metric names"))
    if not found:
        raise SpecError(f"{where}: names no metric, so nothing would be gated")
    try:
        resolve_gate(found, "cpu")
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None
    return found


def margins(where: str, value: Any) -> Margins:
    """A margin for all metrics, margins by metric, or both: 0.05, "5%", "5% ttft.p50=0.1", {"ttft.p50": "10%"}.

    Raises:
        SpecError: naming `where` and what is not valid.
    """
    if isinstance(value, Mapping):
        return Margins(None, {name: _of_metric(where, name, one) for name, one in value.items()})
    if not isinstance(value, str):
        return Margins(margin(where, value), {})
    found = re.sub(r"\s+%", "%", value).replace(",", " ").split()
    general = [word for word in found if "=" not in word]
    pairs = [word.rpartition("=") for word in found if "=" in word]
    if not found:
        raise SpecError(f"{where}: gives no margin")
    if len(general) > 1:
        raise SpecError(f"{where}: {value!r} gives {len(general)} margins for all metrics; give one")
    by_metric = {name: _of_metric(where, name, one) for name, _, one in pairs}
    return Margins(margin(where, general[0]) if general else None, by_metric)


def _of_metric(where: str, name: object, value: Any) -> float:
    if not isinstance(name, str) or name not in METRICS:
        raise SpecError(f"{where}: no metric has the name {name!r}; metrics: {', '.join(METRICS)}")
    return margin(f"{where} of {name}", value)


def margin(where: str, value: Any) -> float:
    """One margin: a fraction up to 1, or a number with a per cent sign.

    Raises:
        SpecError: naming `where`; for what is no number or below 0, and for a fraction above 1, which is more likely
            meant as per cent.
    """
    if isinstance(value, str) and value.rstrip().endswith("%"):
        return _per_cent(where, value)
    found = _FRACTION(where, value)
    if found > 1:
        raise SpecError(
            f'{where}: {found:g} is {found * 100:g} %; write {found / 100:g} or "{found:g}%", '
            f'or "{found * 100:g}%" if you mean that'
        )
    return found


def _per_cent(where: str, value: str) -> float:
    try:
        return _FRACTION(where, value.rstrip().removesuffix("%")) / 100
    except SpecError:
        raise SpecError(f"{where}: {value!r} is not a number of at least 0 followed by a percent sign") from None
