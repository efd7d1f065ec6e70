"""What decides, in the words of a user: the metrics of a gate, and margins. For options, calls and commands alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.metrics.gates import LIMITS
from pytest_vllmperf.metrics.gates import gate_words as words_of_sets
from pytest_vllmperf.metrics.table import METRICS, resolve_gate, unknown
from pytest_vllmperf.records.custom import name_problem
from pytest_vllmperf.records.parsing import number, words
from pytest_vllmperf.verdict.limits import limit_error

_FRACTION = number(0, exclusive=False)
OFF = "off"
"""Takes a limit away."""


class Margins(NamedTuple):
    """Tolerated relative changes.

    Attributes:
        general: for all metrics; None where none was given.
        by_metric: for single metrics.
    """

    general: float | None
    by_metric: Mapping[str, float]


def may_be_custom(name: object) -> bool:
    """Whether a name is that of no metric of the table and no set, but one that a test may give a metric of its own."""
    sets = (*words_of_sets(), LIMITS)
    return isinstance(name, str) and name not in METRICS and name not in sets and not name_problem(name)


def gate_words(where: str, value: Any, *, custom: bool = False) -> tuple[str, ...]:
    """The words of a gate.

    Args:
        where: where they were given.
        value: a text or a list.
        custom: whether a word may be the name of a custom metric, which is not known yet.

    Raises:
        SpecError: naming `where` and the word that names no metric and no set.
    """
    found = tuple(words(where, value, "metric names"))
    if not found:
        raise SpecError(f"{where}: names no metric, so nothing would be gated")
    known = tuple(word for word in found if not (custom and may_be_custom(word)))
    try:
        resolve_gate(known, "cpu")
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None
    return found


def margins(where: str, value: Any, *, custom: bool = False) -> Margins:
    """A margin for all metrics, margins by metric, or both: 0.05, "5%", "5% ttft.p50=0.1", {"ttft.p50": "10%"}.

    Args:
        where: where it was given.
        value: a number, a text or a mapping.
        custom: whether a name may be that of a custom metric, which is not known yet.

    Raises:
        SpecError: naming `where` and what is not valid.
    """
    if isinstance(value, Mapping):
        return Margins(None, {name: _of_metric(where, name, one, custom=custom) for name, one in value.items()})
    if not isinstance(value, str):
        return Margins(margin(where, value), {})
    found = re.sub(r"\s+%", "%", value).replace(",", " ").split()
    general = [word for word in found if "=" not in word]
    pairs = [word.rpartition("=") for word in found if "=" in word]
    if not found:
        raise SpecError(f"{where}: gives no margin")
    if len(general) > 1:
        raise SpecError(f"{where}: {value!r} gives {len(general)} margins for all metrics; give one")
    by_metric = {name: _of_metric(where, name, one, custom=custom) for name, _, one in pairs}
    return Margins(margin(where, general[0]) if general else None, by_metric)


def limits(where: str, value: Any, *, custom: bool = False) -> dict[str, float | None]:
    """Absolute limits by metric, in its unit: {"ttft.p99": 0.5} or "ttft.p99=0.5 output_throughput=1000".

    "off" for a metric takes away the limit that a setting farther away gives it.

    Args:
        where: where they were given.
        value: a text or a mapping.
        custom: whether a name may be that of a custom metric, which is not known yet.

    Raises:
        SpecError: naming `where`, the metric, and what is not valid.
    """
    if isinstance(value, str):
        found = [word.partition("=") for word in value.replace(",", " ").split()]
        if bad := next((name for name, sign, _ in found if not sign), None):
            raise SpecError(f"{where}: {bad!r} is no limit; write ttft.p99=0.5")
        names = [name for name, _, _ in found]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise SpecError(f"{where}: gives {twice} two limits")
        value = {name: limit for name, _, limit in found}
    if not isinstance(value, Mapping):
        raise SpecError(f'{where}: {value!r} is no mapping of metrics, such as {{"ttft.p99": 0.5}}')
    if not value:
        raise SpecError(f"{where}: names no limit")
    return {name: _limit(where, name, one, custom=custom) for name, one in value.items()}


def _limit(where: str, name: object, value: Any, *, custom: bool) -> float | None:
    own = custom and may_be_custom(name)
    if not isinstance(name, str) or (name not in METRICS and not own):
        raise SpecError(f"{where}: {unknown(name)}")
    if value == OFF:
        return None
    limit = _FRACTION(f"{where} of {name}", value)
    if error := "" if own else limit_error(name, limit):
        raise SpecError(f"{where}: {error}")
    return limit


def _of_metric(where: str, name: object, value: Any, *, custom: bool) -> float:
    if not isinstance(name, str) or (name not in METRICS and not (custom and may_be_custom(name))):
        raise SpecError(f"{where}: {unknown(name)}")
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
