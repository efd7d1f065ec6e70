"""Custom metrics: what a test declares of a metric of its own, and the key that the metric has in files.

The key is the whole declaration: `draft_length [tokens, higher]`. So a stored sample says itself what it is, also where
the test that declared it is not there, and a metric whose unit or direction has changed is another metric.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.stats import Direction

LONGEST_NAME: Final = 60
LONGEST_UNIT: Final = 16
EXACT, ONCE = "exact", "once"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")
_UNIT = re.compile(r"[^\s,\[\]]([^,\[\]]*[^\s,\[\]])?")
_KEY = re.compile(
    r"(?P<name>[^ ]+) \[((?P<unit>[^,\]]+), )?(?P<better>lower|higher)(?P<exact>, exact)?(?P<once>, once)?\]"
)


@dataclass(frozen=True)
class Declared:
    """A custom metric.

    Attributes:
        name: as the test calls it; letters, digits and underscores, in parts with dots between them.
        unit: of its values; empty for a plain number.
        better: the direction that counts as an improvement.
        exact: whether noise cannot move it: any difference is a change.
        once: whether a run has one value of it, whatever the number of engine starts. Another engine shows nothing new.
    """

    name: str
    unit: str
    better: Direction
    exact: bool = False
    once: bool = False

    @property
    def key(self) -> str:
        """The declaration as a text: the metric's name in samples, gates and margins."""
        parts = [self.unit, self.better.value, EXACT if self.exact else "", ONCE if self.once else ""]
        return f"{self.name} [{', '.join(filter(None, parts))}]"

    @classmethod
    def parse(cls, key: str) -> Declared | None:
        """The declaration in a key; None for a text that is not the key of a custom metric."""
        found = _KEY.fullmatch(key)
        if found is None:
            return None
        name, unit = found["name"], found["unit"] or ""
        if name_problem(name) or unit_problem(unit):
            return None
        return cls(name, unit, Direction(found["better"]), exact=bool(found["exact"]), once=bool(found["once"]))

    @classmethod
    def create(cls, name: object, *, unit: object, better: object, exact: bool, once: bool) -> Declared:
        """A declaration out of what a test gave.

        Raises:
            SpecError: for a name, unit or direction that is not valid.
        """
        if problem := name_problem(name):
            raise SpecError(f"record({name!r}, ...): {problem}")
        where = f"record({name!r})"
        if problem := unit_problem(unit):
            raise SpecError(f"{where}: unit={unit!r} {problem}")
        directions = {one.value: one for one in Direction}
        if not isinstance(better, str) or better not in directions:
            raise SpecError(f"{where}: better={better!r} is not valid; write better='lower' or better='higher'")
        if not isinstance(exact, bool):
            raise SpecError(f"{where}: exact={exact!r} is not valid; write True or False")
        return cls(str(name), str(unit), directions[better], exact=exact, once=once)


def name_problem(name: object) -> str:
    """Why a custom metric cannot have this name, in words; empty where it can."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.isascii():
        return (
            "the name of a metric has letters, digits and underscores, may have dots between them, and begins with a "
            "letter"
        )
    return f"its name is longer than {LONGEST_NAME} characters" if len(name) > LONGEST_NAME else ""


def unit_problem(unit: object) -> str:
    """Why a custom metric cannot have this unit, in words; empty where it can."""
    if unit == "":
        return ""
    sound = isinstance(unit, str) and _UNIT.fullmatch(unit) and unit.isprintable()
    if not sound or unit in {one.value for one in Direction}:
        return "is not a unit: a short text such as 'ms', without commas, brackets and line breaks"
    return f"is longer than {LONGEST_UNIT} characters" if len(str(unit)) > LONGEST_UNIT else ""


def declared(keys: Iterable[str]) -> dict[str, Declared]:
    """The custom metrics among keys of metrics, by name; of two with one name the last."""
    found = (Declared.parse(key) for key in keys)
    return {one.name: one for one in found if one is not None}


def plain_name(key: str) -> str:
    """What a person calls a metric: the name that its test gave it, or the key of a metric of the table."""
    found = Declared.parse(key)
    return key if found is None else found.name


def redeclared(before: Iterable[str], now: Iterable[str]) -> list[str]:
    """Custom metrics that two sides declare differently, each in words: `acceptance: [share, higher] -> [%, higher]`.

    Args:
        before: keys of metrics of the baseline.
        now: keys of those of the new measurement.
    """
    old, new = declared(before), declared(now)
    both = [(name, old[name].key, new[name].key) for name in old if name in new and old[name] != new[name]]
    return [f"{name}: {was.removeprefix(f'{name} ')} -> {key.removeprefix(f'{name} ')}" for name, was, key in both]
